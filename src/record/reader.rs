//! Reading a recording.

use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Header, LONGEST_LINE, VERSION};
use crate::event::Event;

/// How much of a parser's message is kept: it may quote the line.
const LONGEST_MESSAGE: usize = 400;

/// Why a recording cannot be read any further.
#[derive(Debug)]
pub enum Fault {
    /// Reading failed.
    Read {
        /// The line that was to be read, counted from 1.
        line: u64,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not what it should be.
    Malformed {
        /// The line, counted from 1.
        line: u64,
        /// The byte in it, counted from 1.
        column: usize,
        /// What was expected, or what is wrong. It may quote the line, and is not harmless.
        why: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { line, error } => write!(f, "line {line}: {error}"),
            Self::Malformed { line, column, why } => write!(f, "line {line}, column {column}: {why}"),
        }
    }
}

impl std::error::Error for Fault {}

/// A recording that is being read: an iterator of its events. It ends with the first fault.
pub struct Reader<R> {
    source: R,
    header: Header,
    line: Line,
    is_over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub fn open(mut source: R) -> Result<Self, Fault> {
        let mut line = Line::default();
        if !line.read(&mut source)? {
            return Err(line.fault(1, "the file is empty; a recording was expected"));
        }
        line.check_version()?;
        let header = line.parse()?;
        Ok(Self { source, header, line, is_over: false })
    }

    /// What the first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        if self.line.read(&mut self.source)? { self.line.parse().map(Some) } else { Ok(None) }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_event().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The line that is being read.
#[derive(Default)]
struct Line {
    number: u64,
    bytes: Vec<u8>,
    /// Whether it ends with a newline. Only the last one may not, and then it is perhaps not whole.
    is_ended: bool,
}

impl Line {
    /// Reads the next line; false where there is none.
    fn read(&mut self, source: &mut impl BufRead) -> Result<bool, Fault> {
        self.number += 1;
        self.bytes.clear();
        // One byte more than a line may have: its end, or the proof that it is too long.
        let limit = LONGEST_LINE as u64 + 1;
        let read = source.take(limit).read_until(b'\n', &mut self.bytes);
        read.map_err(|error| Fault::Read { line: self.number, error })?;
        if self.bytes.is_empty() {
            return Ok(false);
        }
        self.is_ended = self.bytes.pop_if(|last| *last == b'\n').is_some();
        if self.bytes.len() > LONGEST_LINE {
            return Err(
                self.fault(LONGEST_LINE + 1, &format!("a line may have {LONGEST_LINE} bytes; this one goes on"))
            );
        }
        Ok(true)
    }

    fn check_version(&self) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct FirstLine {
            socklab: Option<u64>,
        }
        let first_line = self.parse().map_err(|fault| match fault {
            Fault::Malformed { line, column, why } => {
                Fault::Malformed { line, column, why: format!("no recording: {why}") }
            }
            fault @ Fault::Read { .. } => fault,
        });
        match first_line? {
            FirstLine { socklab: Some(version) } if version == u64::from(VERSION) => Ok(()),
            FirstLine { socklab: Some(version) } => {
                Err(self.fault(1, &format!("a recording of format {version}; this command reads format {VERSION}")))
            }
            FirstLine { socklab: None } => {
                Err(self.fault(1, &format!("no recording: its first line would have the key \"socklab\":{VERSION}")))
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let text = match str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() && !self.is_ended => return Err(self.cut_off()),
            Err(error) => return Err(self.fault(error.valid_up_to() + 1, "UTF-8 was expected")),
        };
        if text.trim_ascii().is_empty() {
            return Err(self.fault(1, "a JSON object was expected; the line is empty"));
        }
        serde_json::from_str(text).map_err(|error| self.fault_of(&error))
    }

    fn fault_of(&self, error: &serde_json::Error) -> Fault {
        if error.is_eof() && !self.is_ended {
            return self.cut_off();
        }
        let message = error.to_string();
        // The parser counts lines within this one, which says nothing.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&place).unwrap_or(&message);
        let why = match message.char_indices().nth(LONGEST_MESSAGE) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None => message.to_owned(),
        };
        self.fault(error.column().max(1), &why)
    }

    fn cut_off(&self) -> Fault {
        self.fault(self.bytes.len() + 1, "the last line is cut off: whoever wrote the recording did not finish it")
    }

    fn fault(&self, column: usize, why: &str) -> Fault {
        Fault::Malformed { line: self.number, column, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"socklab\":1,\"started\":\"2026-03-21T14:05:09Z\"}\n";
    const NOTE: &str = r#"{"at":1.5,"who":"kernel","what":"note","is":"hello"}"#;

    /// The events before the fault, and the fault as it is told.
    fn fault_in(recording: &[u8]) -> (usize, String) {
        let reader = match Reader::open(recording) {
            Ok(reader) => reader,
            Err(fault) => return (0, fault.to_string()),
        };
        let mut events = 0;
        let mut faults = Vec::new();
        for event in reader {
            match event {
                Ok(_) => events += 1,
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        assert_eq!(faults.len(), 1, "{faults:?}");
        (events, faults.remove(0))
    }

    fn with_header(rest: &[u8]) -> Vec<u8> {
        [HEADER.as_bytes(), rest].concat()
    }

    #[test]
    fn a_header_alone_is_a_recording_without_events() {
        let mut reader = Reader::open(HEADER.as_bytes()).unwrap();
        assert_eq!((reader.header().title.as_str(), reader.header().server_port), ("", None));
        assert!(reader.next().is_none());
    }

    #[test]
    fn the_last_line_needs_no_newline_as_long_as_it_is_whole() {
        let whole = with_header(NOTE.as_bytes());
        assert_eq!(Reader::open(whole.as_slice()).unwrap().map(Result::unwrap).count(), 1);
    }

    #[test]
    fn a_last_line_that_is_cut_off_anywhere_is_said_to_be_cut_off() {
        let note = NOTE.replace("hello", "hellö");
        for end in 1..note.len() {
            let bytes = with_header(&[NOTE.as_bytes(), b"\n", &note.as_bytes()[..end]].concat());
            let (events, fault) = fault_in(&bytes);
            assert_eq!(events, 1, "cut at {end}");
            let expected = format!("line 3, column {}: the last line is cut off", end + 1);
            assert!(fault.starts_with(&expected), "cut at {end}: {fault}");
        }
    }

    #[test]
    fn what_is_no_recording_is_told_apart_from_a_recording_of_another_format() {
        for (bytes, expected) in [
            (b"".as_slice(), "line 1, column 1: the file is empty"),
            (b"{\"kernel\":\"x\"}\n", "line 1, column 1: no recording"),
            (b"\x0a\x0d\x0d\x0a", "line 1, column 1: no recording: a JSON object was expected; the line is empty"),
            (b"hello\n", "line 1, column 1: no recording: expected value"),
            (b"{\"socklab\":2}\n", "line 1, column 1: a recording of format 2; this command reads format 1"),
            (b"{\"socklab\":-1}\n", "line 1, column 13: no recording: invalid value: integer `-1`, expected u64"),
            (b"{\"socklab\":1}\n", "line 1, column 13: missing field `started`"),
            (b"{\"socklab\":1,\"started\":\"now\"}\n", "line 1, column 29: a moment like"),
            (b"\xff\xfe", "line 1, column 1: no recording: UTF-8 was expected"),
        ] {
            let (_, fault) = fault_in(bytes);
            assert!(fault.starts_with(expected), "{}: {fault}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_fault_is_told_with_its_line_its_column_and_what_was_expected() {
        for (line, expected) in [
            ("", "line 2, column 1: a JSON object was expected; the line is empty"),
            ("[]", "line 2, column 1: invalid type: sequence, expected an event: an object"),
            (r#"{"at":1.5,"who":"nobody"}"#, "line 2, column 24: unknown variant `nobody`, expected one of `kernel`"),
            (r#"{"at":1.5,"who":"wire","what":"x"}"#, "line 2, column 33: unknown variant `x`, expected one of"),
            (r#"{"at":1.5,"at":1}"#, "line 2, column 14: duplicate field `at`"),
            (r#"{"at":-1}"#, "line 2, column 9: cannot convert float seconds to Duration: value is negative"),
        ] {
            let (_, fault) = fault_in(&with_header(format!("{line}\n").as_bytes()));
            assert!(fault.starts_with(expected), "{line}: {fault}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_without_being_read_to_its_end() {
        let (_, fault) = fault_in(&with_header(&vec![b' '; LONGEST_LINE + 1]));
        assert!(fault.starts_with("line 2, column 1048577: a line may have 1048576 bytes"), "{fault}");
        // An endless one: memory would not do.
        let endless = io::BufReader::new(HEADER.as_bytes().chain(io::repeat(b'[')));
        let mut reader = Reader::open(endless).unwrap();
        assert!(matches!(reader.next(), Some(Err(Fault::Malformed { line: 2, .. }))));
        assert!(reader.next().is_none());
        assert!(reader.line.bytes.capacity() <= 4 * LONGEST_LINE, "{}", reader.line.bytes.capacity());
    }

    #[test]
    fn nesting_however_deep_is_an_error_or_passed_over() {
        let half = LONGEST_LINE / 2 - 100;
        let nested = format!("{}{}", "[".repeat(half), "]".repeat(half));
        for line in [
            nested.clone(),
            format!(r#"{{"at":{nested}}}"#),
            format!(r#"{{"is":{nested},"what":"note","at":1,"who":"kernel"}}"#),
            format!(r#"{{"what":"segment","is":{nested},"at":1,"who":"kernel"}}"#),
        ] {
            assert_eq!(fault_in(&with_header(format!("{line}\n").as_bytes())).0, 0);
        }
        let beside = format!("{HEADER}{{\"more\":{nested},{}\n", &NOTE[1..]);
        assert_eq!(Reader::open(beside.as_bytes()).unwrap().map(Result::unwrap).count(), 1);
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_found_where_they_are() {
        let line = NOTE.replace("hello", "he\u{0}lo").into_bytes();
        let line: Vec<u8> = line.into_iter().map(|byte| if byte == 0 { 0xc3 } else { byte }).collect();
        let (_, fault) = fault_in(&with_header(&[line.as_slice(), b"\n"].concat()));
        assert!(fault.starts_with("line 2, column 48: UTF-8 was expected"), "{fault}");
    }

    #[test]
    fn a_message_that_quotes_the_line_is_cut() {
        let line = format!(r#"{{"at":1,"who":"{}"}}"#, "ü".repeat(10_000));
        let (_, fault) = fault_in(&with_header(format!("{line}\n").as_bytes()));
        assert!(fault.chars().count() < LONGEST_MESSAGE + 50, "{}", fault.len());
    }
}
