//! What the tests of the labs and of the command share: real processes, real terminals, and the kernel's own evidence.

pub mod echo;
pub mod facts;
pub mod namespace;
pub mod one_thread;
pub mod process;
pub mod tcp;
pub mod terminal;
pub mod traffic;
pub mod transcript;

pub use nix::sys::signal::Signal;
