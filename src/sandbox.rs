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

/// What this machine allows, tried out one by one.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Following a program of one's own (ptrace); or why not.
    pub follow: Result<(), String>,
    /// A network of one's own, and whether pairs of interfaces can be made in it; or why not.
    pub network: Result<bool, String>,
    /// Capturing segments on the machine's network.
    pub capture: bool,
}

impl Findings {
    /// Tries it. To be called while this process has a single thread.
    pub fn of_this_machine() -> Self {
        let network = match sandbox::try_it() {
            Ok(tried) => tried.map_err(|refusal| refusal.to_string()),
            Err(error) => Err(format!("fork: {}", with_name(&error))),
        };
        Self {
            follow: trace::try_it().map_err(|error| why_not_follow(&error)),
            network,
            capture: sandbox::may_capture(),
        }
    }

    /// The rung that follows from them.
    pub fn rung(&self) -> Rung {
        match (&self.follow, &self.network) {
            (Err(why), _) => Rung::Replay { why: why.clone() },
            (Ok(()), Ok(true)) => Rung::Full,
            (Ok(()), Ok(false)) => Rung::LoopbackOnly,
            (Ok(()), Err(why)) => Rung::NoNamespace { segments: self.capture, why: why.clone() },
        }
    }
}

fn why_not_follow(error: &std::io::Error) -> String {
    let yama = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map_or("0", str::trim);
    if tracer != "0" {
        let error = with_name(error);
        return format!(
            "ptrace: {error}: process {tracer} follows this command already, and a process has one follower"
        );
    }
    let hint = match yama.trim() {
        "3" => "kernel.yama.ptrace_scope is 3, which only a reboot changes",
        "2" => "kernel.yama.ptrace_scope is 2: sudo sysctl kernel.yama.ptrace_scope=1",
        _ => "a container's seccomp profile may forbid it: start the container with --cap-add SYS_PTRACE",
    };
    format!("ptrace: {}: {hint}", with_name(error))
}

impl Rung {
    /// Which rung this machine allows. To be called while this process has a single thread.
    pub fn of_this_machine() -> Self {
        Findings::of_this_machine().rung()
    }

    /// Moves this process into a network of its own where the rung has one.
    pub fn enter(self) -> Self {
        match self {
            Self::Full | Self::LoopbackOnly => match sandbox::enter() {
                Ok(()) => self,
                Err(refusal) => Self::NoNamespace { segments: sandbox::may_capture(), why: refusal.to_string() },
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
