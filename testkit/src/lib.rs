//! What the tests of the labs and of the command share: real processes, real terminals, and the kernel's own evidence.

pub mod namespace;
pub mod process;
pub mod tcp;
pub mod terminal;
