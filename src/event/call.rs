//! System calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Endpoint, Protocol, seconds};

/// A system call of a thread: an interval, from its entry to its return.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// The same number in the event of the entry and in that of the return, and in no other call of this run.
    pub id: u64,
    /// Its name, as in section 2 of the manual.
    pub name: String,
    /// Its arguments as text, in the kernel's order, a descriptor in first place left out where `on` has it. Bytes are
    /// shown as a C string. Unknown before the return: what the call writes into memory.
    pub arguments: Vec<String>,
    /// The descriptor that it is called on, as it was when the call was entered.
    pub on: Option<Descriptor>,
    /// What poll(2) waits for, what epoll_ctl(2) is about, what epoll_wait(2) has named. Of very many only some are here,
    /// those first to which something has come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
    /// How it went; `None` while it has not returned.
    pub outcome: Option<Outcome>,
}

/// How a call went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// When the call was entered, since the start of the run.
    #[serde(with = "seconds")]
    pub entered: Duration,
    /// What it returned. On failure, minus the number of the error, as the kernel says it.
    pub value: i64,
    /// The name of the error, `EAGAIN`. A call that a signal interrupted, and that the kernel begins anew by itself, has
    /// `ERESTARTSYS`, which no program ever sees.
    pub error: Option<String>,
    /// The descriptor that it made.
    pub made: Option<Descriptor>,
}

/// A file descriptor, and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: i32,
    /// What it stands for.
    pub names: Named,
}

/// A descriptor that is waited for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Waited {
    /// The descriptor.
    pub on: Descriptor,
    /// What is asked for, `POLLIN`; empty where the call does not say it.
    pub asked: String,
    /// What has come, `POLLIN|POLLHUP`; empty where nothing has.
    pub came: String,
}

/// What a descriptor stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Named {
    /// A socket with neither address nor peer.
    Unbound(Protocol),
    /// A socket with an address, and no peer.
    Bound(Protocol, Endpoint),
    /// A listening socket.
    Listening(Endpoint),
    /// A connected socket.
    Connected {
        /// Its protocol.
        protocol: Protocol,
        /// Its own end.
        local: Endpoint,
        /// The other end.
        remote: Endpoint,
        /// Whether it came out of accept().
        accepted: bool,
    },
    /// Anything else, by the name that `/proc/PID/fd` has for it: `pipe:[812]`, `anon_inode:[eventpoll]`, a path.
    Other(String),
}

impl Named {
    /// The protocol of a socket.
    pub fn protocol(&self) -> Option<Protocol> {
        match self {
            Self::Unbound(protocol) | Self::Bound(protocol, _) | Self::Connected { protocol, .. } => Some(*protocol),
            Self::Listening(Endpoint::Inet(_)) => Some(Protocol::Tcp),
            Self::Listening(_) => Some(Protocol::UnixStream),
            Self::Other(_) => None,
        }
    }

    /// Whether it has an address of IPv6.
    pub fn is_ipv6(&self) -> bool {
        let (Self::Bound(_, local) | Self::Listening(local) | Self::Connected { local, .. }) = self else {
            return false;
        };
        matches!(local, Endpoint::Inet(address) if address.is_ipv6())
    }

    /// Both ends, where it is connected.
    pub fn ends(&self) -> Option<(&Endpoint, &Endpoint)> {
        match self {
            Self::Connected { local, remote, .. } => Some((local, remote)),
            _ => None,
        }
    }
}
