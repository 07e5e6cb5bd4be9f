//! The frame reader of labs 4 and 7: any bytes, cut into any reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../labs/lab07_chat/tests/checks/mod.rs"]
#[allow(dead_code, reason = "the other targets and tests call the rest")]
mod checks;

fuzz_target!(|input: (u8, Vec<u8>, &[u8])| {
    let (limit, sizes, bytes) = input;
    let sizes: Vec<usize> = sizes.into_iter().map(usize::from).collect();
    checks::frames(bytes, usize::from(limit), &sizes);
});
