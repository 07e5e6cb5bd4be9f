//! The words of a call, whatever they are, with a memory that is made of the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::decode::{sockaddr, syscall};
use socklab::view::paint::harmless;

/// Where the memory begins.
const BEGIN: u64 = 4096;

fuzz_target!(|input: (u8, [u64; 6], i64, &[u8])| {
    let (which, words, returned, bytes) = input;
    let _ = sockaddr::address(bytes);
    let numbers = syscall::numbers();
    let Some(call) = syscall::find(numbers[usize::from(which) % numbers.len()]) else { return };
    // Half of the words lead into the memory, so that it is read.
    let near = words.map(|word| if word & 1 == 0 { word } else { BEGIN + (word >> 1) % (bytes.len() as u64 + 2) });
    for words in [words, near] {
        let memory = |at: u64, into: &mut [u8]| read(bytes, at, into);
        let mut texts = call.enter(words, &memory);
        for returned in [returned, 0, 1, bytes.len() as i64] {
            call.answer(&mut texts, words, returned, &memory);
            for text in texts.iter().flatten() {
                assert!(text.len() < 64 * 1024, "{} characters", text.len());
                assert!(!harmless(text.as_bytes()).chars().any(char::is_control));
            }
        }
        let _ = call.is_of_interest(words, &memory, |fd| fd & 1 == 0);
        let _ = call.pair(words, &memory);
        let _ = call.on_list(words, &memory);
        for returned in [None, Some(returned), Some(1), Some(bytes.len() as i64)] {
            assert!(call.waits(words, returned, &memory).len() <= 16);
        }
        let _ = syscall::fcntl_copies(words);
    }
});

fn read(bytes: &[u8], at: u64, into: &mut [u8]) -> usize {
    let from = at.checked_sub(BEGIN).and_then(|from| bytes.get(usize::try_from(from).ok()?..)).unwrap_or_default();
    let length = from.len().min(into.len());
    into[..length].copy_from_slice(&from[..length]);
    length
}
