//! The one event type: what was seen, when, and who it belongs to. Every lens makes events, every view reads them.
//!
//! An event is also one line of a recording, as JSON: `docs/events.md` describes each kind.

mod call;
mod line;
mod segment;
mod socket;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use call::{Call, Descriptor, Named, Outcome, Waited};
pub use segment::{Flags, Segment, SegmentOption, Transport};
pub use socket::{Endpoint, Owner, Protocol, Socket, State, Timer, TimerKind, canonical};

/// Something that was observed or, where it says so, inferred from what was observed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Event {
    /// When, since the start of the run. A sampled change happened no later, and after the sample before; a call's entry
    /// is no later than what the call did; a segment carries the kernel's own time.
    #[serde(serialize_with = "seconds::serialize")]
    pub at: Duration,
    /// Who it belongs to.
    pub who: Who,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// The owner of a line.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The kernel, asked by a lens.
    Kernel,
    /// The network between the sockets.
    Wire,
    /// A program that was started, or a child or thread of it, in its role.
    Program {
        /// `server`, `client 2`, `server/child 1`, `client/thread 2`.
        role: String,
        /// Its process id; of a thread, its thread id.
        pid: u32,
    },
    /// This command itself.
    Socklab,
}

/// What it was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what", content = "is")]
pub enum What {
    /// A socket is there that was not there in the sample before.
    Appeared(Socket),
    /// A socket is in another state than in the sample before.
    Changed {
        /// The state in the sample before.
        before: State,
        /// The socket now.
        socket: Socket,
    },
    /// A connection that waited in the accept queue has been handed to a process.
    Accepted(Socket),
    /// The accept queue of a listening socket has another length than in the sample before.
    Queued {
        /// Its length in the sample before.
        before: u32,
        /// The listening socket now.
        socket: Socket,
    },
    /// Bytes have been lying in a queue of this socket for so long that nobody seems to come for them; or, with both
    /// queues empty, they have gone at last.
    Lying(Socket),
    /// A socket that was there in the sample before is gone. This is how it was last seen.
    Gone(Socket),
    /// More of the same than anybody can read: so many sockets changed in one sample, by kind.
    Crowd(String),
    /// One end of a TCP connection went from one state to another: follows from the segments, and was perhaps seen in a
    /// sample too.
    Moved(Transition),
    /// A system call has been entered. Its arguments, as far as they are known by then.
    Called(Call),
    /// The same call has returned, with its outcome.
    Returned(Call),
    /// A TCP segment or UDP datagram, at the moment when the kernel handed it to the receiving side.
    Segment(Box<Segment>),
    /// A program has begun to run, with these words on its command line.
    Started {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// The process or thread made another one.
    Forked {
        /// Who was made.
        child: Who,
        /// Whether it shares its memory and descriptors with its maker.
        is_thread: bool,
    },
    /// The process or thread is about to get this signal, which interrupts the call that it waits in.
    Signalled(i32),
    /// The process has ended.
    Ended(End),
    /// A line that a program printed. Raw: a view has to make it harmless.
    Said(#[serde(with = "bytes")] Vec<u8>),
    /// A line that was typed for a program, or handed on from the terminal. Raw, too.
    Typed(#[serde(with = "bytes")] Vec<u8>),
    /// A remark of this command.
    Note(String),
}

/// One end of a TCP connection changes its state (RFC 9293, section 3.3.2).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transition {
    /// The end that it is about.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// Its state before; CLOSED where there was no connection.
    pub before: State,
    /// Its state from then on; CLOSED where it is gone.
    pub after: State,
    /// What it follows from: `its SYN`, `the ACK of its FIN`.
    pub because: String,
    /// The socket in that state as a sample showed it, and when. Without it the transition is inferred only.
    pub seen: Option<Seen>,
}

/// A socket in a sample.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// When the sample was there, since the start of the run.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// What it showed.
    pub socket: Socket,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Durations as seconds with nine decimals.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Bytes as text where they are UTF-8, and otherwise as hexadecimal digits after `hex:`.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::segment::hexadecimal;

    const MARK: &str = "hex:";

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(bytes) {
            Ok(text) if !text.starts_with(MARK) => serializer.serialize_str(text),
            _ => serializer.serialize_str(&format!("{MARK}{}", hexadecimal::to_text(bytes))),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix(MARK) {
            Some(digits) => hexadecimal::from_text(digits).map_err(serde::de::Error::custom),
            None => Ok(text.into_bytes()),
        }
    }
}
