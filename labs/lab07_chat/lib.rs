//! The chat, apart from its sockets.
//!
//! For the server, and later ones of its kind: what the lines mean ([`protocol`], [`names`]), who is there ([`hub`]), and what
//! still has to be written to whom ([`outbox`]). Nothing of that makes a system call or looks at a clock. For the client: what
//! is typed ([`typed`], [`script`]), what arrives ([`incoming`], [`show`]), and the terminal ([`console`]).
//!
//! What the lines look like: docs/chat-protocol.md.

pub mod console;
pub mod hub;
pub mod incoming;
pub mod names;
pub mod outbox;
pub mod pauses;
pub mod protocol;
pub mod script;
pub mod show;
pub mod talk;
pub mod typed;
pub mod waiting;

pub use lab04_messages::frames;
