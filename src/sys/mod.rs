//! Every system call of the instruments that the standard library does not make, and all of their unsafe code.

#![allow(unsafe_code)]

pub mod clock;
pub mod descriptor;
pub mod packet;
pub mod process;
pub mod readiness;
pub mod sandbox;
pub mod signals;
pub mod sock_diag;
pub mod start;
pub mod terminal;
pub mod trace;

/// An error with the name of its errno: `EPIPE (Broken pipe)`.
pub fn with_name(error: &std::io::Error) -> String {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(errno) => format!("{errno:?} ({})", errno.desc()),
        None => error.to_string(),
    }
}
