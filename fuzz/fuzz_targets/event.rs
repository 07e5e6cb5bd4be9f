//! One event as JSON: read, written, shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::event::{Event, What};
use socklab::view::notation;

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = serde_json::from_slice::<Event>(bytes) else { return };
    let line = serde_json::to_string(&event).unwrap();
    let again: Event = serde_json::from_str(&line).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), line);

    let shown = match &event.what {
        What::Called(call) | What::Returned(call) => {
            notation::call(call) + &call.outcome.as_ref().map(notation::outcome).unwrap_or_default()
        }
        What::Segment(segment) => notation::segment(segment),
        _ => return,
    };
    assert!(!shown.chars().any(char::is_control));
});
