//! The chat without its sockets: what the lines mean, who is there, and what still has to be written to whom.
//!
//! Nothing in here makes a system call or looks at a clock. What the lines look like: docs/chat-protocol.md.

pub mod hub;
pub mod names;
pub mod outbox;
pub mod protocol;

pub use lab04_messages::frames;
