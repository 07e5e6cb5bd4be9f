//! The chat server as a process, over real sockets: what docs/chat-protocol.md promises, and what faults and load may not break.

#![allow(clippy::expect_used, reason = "a helper of a test may fail the test")]

mod chat;
mod endings;
mod faults;
mod limits;
mod names;
mod order;
mod others;
mod peers;
mod requests;
