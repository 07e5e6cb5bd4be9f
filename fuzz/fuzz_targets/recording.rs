//! Recordings: whatever can be read is the same after it was written and read once more, and makes a whole capture.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::event::Event;
use socklab::record::{Reader, Writer};
use socklab::view::pcapng::Pcapng;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::open(bytes) else { return };
    let header = reader.header().clone();
    let events: Vec<Event> = reader.by_ref().map_while(Result::ok).collect();
    assert!(reader.next().is_none());

    let first = written(&header, &events);
    let again: Vec<Event> = Reader::open(first.as_slice()).unwrap().map(Result::unwrap).collect();
    assert_eq!(again.len(), events.len());
    assert!(first == written(&header, &again));

    let mut capture = Pcapng::new(Vec::new(), &header).unwrap();
    events.iter().for_each(|event| capture.event(event).unwrap());
    capture.finish().unwrap();
});

fn written(header: &socklab::record::Header, events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header, true).unwrap();
    events.iter().for_each(|event| writer.event(event).unwrap());
    writer.finish().unwrap()
}
