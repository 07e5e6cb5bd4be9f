//! The workshop: the list of labs, and what a learner does with them.

pub mod account;
pub mod build;
pub mod check;
pub mod client;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod exercises;
pub mod guard;
pub mod labs;
pub mod ladders;
pub mod lines;
pub mod outputs;
pub mod program;
pub mod replay;
pub mod run;
pub mod scene;
pub mod segments;
pub mod states;
pub mod trace;
pub mod watch;

use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::sys::with_name;

/// Why a command could not do what it was asked to do. Printed once, by `main`.
#[derive(Debug)]
pub enum Problem {
    /// Standard output is closed: nobody reads any more.
    Output(io::Error),
    /// The kernel refused something that was needed.
    Kernel {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// It has been told in full what happened.
    Told(String),
}

impl Problem {
    /// For `map_err`: the error came up while doing this.
    pub fn while_doing(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Kernel { doing, error }
    }
}

/// Whatever is not given another context was a failure to print.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output(error) => write!(f, "write to standard output: {}", with_name(error)),
            Self::Kernel { doing, error } => {
                write!(f, "could not {doing}: {}", with_name(error))?;
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => f.write_str("\n  hint: this user may not start more processes: ulimit -u"),
                    Some(Errno::EMFILE) => f.write_str("\n  hint: no more file descriptors may be opened: ulimit -n"),
                    _ => Ok(()),
                }
            }
            Self::Told(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Problem {}
