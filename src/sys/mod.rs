//! Every system call of the instruments that the standard library does not make, and all of their unsafe code.

#![allow(unsafe_code)]

pub mod clock;
pub mod packet;
pub mod process;
pub mod readiness;
pub mod signals;
pub mod sock_diag;
pub mod terminal;
