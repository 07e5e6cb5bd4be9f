//! The chat: each line is a frame, from the connection that its first byte says.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../labs/lab07_chat/tests/checks/mod.rs"]
#[allow(dead_code, reason = "the other targets and tests call the rest")]
mod checks;

fuzz_target!(|bytes: &[u8]| {
    checks::frame(bytes);
    checks::conversation(bytes);
});
