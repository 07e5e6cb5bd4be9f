//! Where programs are watched: in a network of their own, or where that is not allowed, on the machine's.

use std::fmt;
use std::fs;

use crate::sys::{sandbox, trace, with_name};

/// How much this machine lets us see. Each rung lacks something that the one before has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rung {
    /// A network of our own: calls, states and segments, and pairs of interfaces to put a wire between.
    Full,
    /// A network of our own, with nothing but a loopback interface in it: calls, states and segments all the same.
    LoopbackOnly,
    /// The machine's network: calls, and states by port; segments only with the right to capture them.
    NoNamespace {
        /// Whether that right is there.
        segments: bool,
        /// Why there is no network of our own.
        why: String,
    },
    /// Nothing can be followed: only recordings can be looked at.
    Replay {
        /// Why.
        why: String,
    },
}

impl Rung {
    /// Which rung this machine allows. To be called while this process has a single thread.
    pub fn of_this_machine() -> Self {
        if let Err(error) = trace::try_it() {
            let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
            let hint = match yama.trim() {
                "3" => "kernel.yama.ptrace_scope is 3, which only a reboot changes",
                "2" => "kernel.yama.ptrace_scope is 2: sudo sysctl kernel.yama.ptrace_scope=1",
                _ => "a container's seccomp profile may forbid it: start it with --cap-add SYS_PTRACE",
            };
            return Self::Replay { why: format!("ptrace: {}: {hint}", with_name(&error)) };
        }
        match sandbox::try_it() {
            Ok(Ok(true)) => Self::Full,
            Ok(Ok(false)) => Self::LoopbackOnly,
            Ok(Err(refusal)) => Self::NoNamespace {
                segments: sandbox::may_capture(),
                why: format!("{}: {:?}: {}", refusal.call, refusal.errno, refusal.hint()),
            },
            Err(error) => {
                Self::NoNamespace { segments: sandbox::may_capture(), why: format!("fork: {}", with_name(&error)) }
            }
        }
    }

    /// Moves this process into a network of its own where the rung has one.
    pub fn enter(self) -> Self {
        match self {
            Self::Full | Self::LoopbackOnly => match sandbox::enter() {
                Ok(()) => self,
                Err(refusal) => Self::NoNamespace {
                    segments: sandbox::may_capture(),
                    why: format!("{}: {:?}: {}", refusal.call, refusal.errno, refusal.hint()),
                },
            },
            other => other,
        }
    }

    /// Whether the programs have a network of their own.
    pub fn has_own_network(&self) -> bool {
        matches!(self, Self::Full | Self::LoopbackOnly)
    }

    /// Whether segments can be captured.
    pub fn has_segments(&self) -> bool {
        matches!(self, Self::Full | Self::LoopbackOnly | Self::NoNamespace { segments: true, .. })
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::LoopbackOnly => f.write_str("loopback only"),
            Self::NoNamespace { segments: true, .. } => f.write_str("no namespace"),
            Self::NoNamespace { segments: false, .. } => f.write_str("no namespace, no segments"),
            Self::Replay { .. } => f.write_str("replay"),
        }
    }
}
