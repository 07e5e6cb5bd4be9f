//! The chat's client, as a process: against a server that the test plays itself, so that it can do what no good one does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is the failure that a test is for")]

mod peer;
mod pipe;
mod script;
mod terminal;
mod tty;
