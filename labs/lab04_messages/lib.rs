//! Lab 4's library: where a message ends ([`frames`]), what it says ([`messages`]), and a [`Client`] that asks and gets
//! answers.
//!
//! Everything above the calls that labs 1 to 3 taught. The server needs the first two, its client all three.

pub mod frames;
pub mod messages;
mod requester;

pub use requester::Client;
