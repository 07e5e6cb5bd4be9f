//! Recordings: a run in a text file, one JSON object per line. The first line is the [`Header`], every other an
//! [`Event`](crate::event::Event) (`docs/events.md`).
//!
//! A recording may come from anywhere: whatever is in it, reading it ends with events or with a [`Fault`], and takes no
//! more memory than its longest line.

mod moment;
mod reader;
mod writer;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use moment::to_text as moment;
pub use reader::{Fault, Reader};
pub use writer::Writer;

/// The version of the format: what the key `socklab` of the first line says.
pub const VERSION: u32 = 1;
/// How many bytes a line may have, its end not counted.
pub const LONGEST_LINE: usize = 1 << 20;

/// What the first line of a recording says about the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// What was run, in a few words.
    #[serde(default)]
    pub title: String,
    /// The port on which the server listens, where it was known when the run began.
    #[serde(default)]
    pub server_port: Option<u16>,
    /// What could be observed: calls, states, segments, and what was missing for the rest.
    #[serde(default)]
    pub rung: String,
    /// The kernel's name and release.
    #[serde(default)]
    pub kernel: String,
    /// The processor's architecture.
    #[serde(default)]
    pub machine: String,
    /// The commands that were run, as somebody would type them.
    #[serde(default)]
    pub commands: Vec<String>,
    /// When the run began: every event's time counts from here.
    #[serde(with = "moment")]
    pub started: SystemTime,
}

impl Header {
    /// The header of a run that began at this time on a machine like this one; everything else is empty.
    pub fn new(started: SystemTime) -> Self {
        Self {
            title: String::new(),
            server_port: None,
            rung: String::new(),
            kernel: String::new(),
            machine: std::env::consts::ARCH.into(),
            commands: Vec::new(),
            started,
        }
    }
}
