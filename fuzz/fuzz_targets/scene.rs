//! A text that may be a scene: what is wrong with it is told with a place in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::scene;

fuzz_target!(|text: &str| {
    if let Err(mistake) = scene::parse(text) {
        let line = text.lines().nth(mistake.line - 1).unwrap_or_default();
        assert!(mistake.column <= line.chars().count() + 1);
        assert!(mistake.shown("a scene").chars().all(|it| it == '\n' || !it.is_control()));
    }
});
