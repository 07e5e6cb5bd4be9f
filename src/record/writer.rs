//! Writing a recording.

use std::io::{self, Write};

use serde::Serialize;

use super::{Header, LONGEST_LINE, VERSION};
use crate::event::{Event, Segment, What, Who};

/// Writes a recording, line by line.
pub struct Writer<W: Write> {
    out: W,
    with_packets: bool,
    line: Vec<u8>,
}

#[derive(Serialize)]
struct FirstLine<'a> {
    socklab: u32,
    #[serde(flatten)]
    header: &'a Header,
}

impl<W: Write> Writer<W> {
    /// Begins a recording with its header. Without packets, the captured bytes of segments are left out.
    pub fn new(out: W, header: &Header, with_packets: bool) -> io::Result<Self> {
        let mut writer = Self { out, with_packets, line: Vec::new() };
        writer.put(&FirstLine { socklab: VERSION, header })?;
        if writer.line.len() > LONGEST_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "what the header says is too long for one line"));
        }
        writer.end_line()?;
        Ok(writer)
    }

    /// Writes one event. In place of one that is too long for a line stands a remark that it was left out.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.what {
            What::Segment(segment) if !self.with_packets => {
                // Its bytes are not copied only to be left out.
                let bare = Segment { packet: Vec::new(), options: segment.options.clone(), ..**segment };
                self.put(&Event { at: event.at, who: event.who.clone(), what: What::Segment(Box::new(bare)) })?;
            }
            _ => self.put(event)?,
        }
        if self.line.len() > LONGEST_LINE {
            let note = format!("left out here: an event of {} bytes, too long for a line", self.line.len());
            self.put(&Event { at: event.at, who: Who::Socklab, what: What::Note(note) })?;
        }
        self.end_line()
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Hands on the rest, and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        Ok(serde_json::to_writer(&mut self.line, value)?)
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reader;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_event_too_long_for_a_line_leaves_a_remark_in_its_place() {
        let header = Header::new(UNIX_EPOCH);
        let mut writer = Writer::new(Vec::new(), &header, true).unwrap();
        let at = Duration::from_secs(1);
        let of_length = |length| Event { at, who: Who::Socklab, what: What::Note("x".repeat(length)) };
        let around = serde_json::to_string(&of_length(0)).unwrap().len();
        writer.event(&of_length(LONGEST_LINE - around)).unwrap();
        writer.event(&of_length(LONGEST_LINE - around + 1)).unwrap();
        let bytes = writer.finish().unwrap();
        let events: Vec<Event> = Reader::open(bytes.as_slice()).unwrap().map(Result::unwrap).collect();
        assert_eq!(events[0], of_length(LONGEST_LINE - around));
        let What::Note(note) = &events[1].what else { panic!("{:?}", events[1]) };
        assert_eq!(note, &format!("left out here: an event of {} bytes, too long for a line", LONGEST_LINE + 1));
    }

    #[test]
    fn a_header_too_long_for_a_line_is_an_error() {
        let header = Header { title: "x".repeat(LONGEST_LINE), ..Header::new(UNIX_EPOCH) };
        assert!(Writer::new(Vec::new(), &header, true).is_err());
    }
}
