//! A scene from its recording, on a machine that may not observe: what each line has brought to light then.
//!
//! A recording of a scene holds each of these as a note: `scene line 9: client → server  ESTABLISHED`, and
//! `scene line 11 reveals: ESTABLISHED`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{Break, Shed, Source};
use crate::event::{Event, What};
use crate::record::Reader;
use crate::scene::{Action, Asked, Shown, Step, Value};
use crate::sys::with_name;
use crate::view::ladder;
use crate::view::paint::{Page, harmless};
use crate::workshop::Problem;

/// What was recorded.
#[derive(Debug)]
pub struct Recorded {
    kernel: String,
    server_port: Option<u16>,
    events: Vec<Event>,
    lines: BTreeMap<usize, Vec<String>>,
    revealed: BTreeMap<usize, Vec<Value>>,
}

/// A line that a scene has printed, as a note.
pub fn line(number: usize, text: &str) -> String {
    format!("scene line {number}: {text}")
}

/// What the kernel has answered, as a note.
pub fn revealed(number: usize, value: &Value) -> String {
    format!("scene line {number} reveals: {value}")
}

impl Recorded {
    /// Reads a recording.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let wrong = |what: String| Problem::Told(format!("{}: {what}", harmless(name.as_bytes())));
        let file = File::open(path).map_err(|error| wrong(with_name(&error)))?;
        let reader = Reader::open(BufReader::new(file)).map_err(|fault| wrong(fault.to_string()))?;
        let header = reader.header().clone();
        let mut recorded = Self {
            kernel: header.kernel,
            server_port: header.server_port,
            events: Vec::new(),
            lines: BTreeMap::new(),
            revealed: BTreeMap::new(),
        };
        for event in reader {
            let event = event.map_err(|fault| wrong(fault.to_string()))?;
            if let What::Note(note) = &event.what {
                recorded.take(note);
            }
            recorded.events.push(event);
        }
        Ok(recorded)
    }

    fn take(&mut self, note: &str) {
        let Some((number, rest)) = note.strip_prefix("scene line ").and_then(|rest| rest.split_once(':')) else {
            return;
        };
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        let (number, is_revealed) = match number.strip_suffix(" reveals") {
            Some(number) => (number, true),
            None => (number, false),
        };
        let Ok(number) = number.parse() else { return };
        if is_revealed {
            self.revealed.entry(number).or_default().push(Value::read(text));
        } else {
            self.lines.entry(number).or_default().push(harmless(text.as_bytes()));
        }
    }

    /// The kernel on which it was recorded.
    pub fn kernel(&self) -> String {
        harmless(self.kernel.as_bytes())
    }
}

impl Source for Recorded {
    fn perform(&mut self, step: &Step, predicted: &[Asked]) -> Result<Shed, Break> {
        let lines = self.lines.get(&step.line).cloned().unwrap_or_default();
        let revealed = self.revealed.get(&step.line).cloned().unwrap_or_default();
        let is_whole = match &step.action {
            Action::Reveal => revealed.len() == predicted.len(),
            Action::Print(shown) => !lines.is_empty() || *shown == Shown::Ladder,
            _ => true,
        };
        if !is_whole {
            return Err(Break::Failed(format!(
                "the recording has nothing about line {}: it is of another scene",
                step.line
            )));
        }
        Ok(Shed { lines, revealed })
    }

    fn pass_time(&mut self) -> Result<(), Break> {
        Ok(())
    }

    fn look(&mut self) -> Result<Vec<String>, Break> {
        Ok(vec!["a recording has only what it has".into()])
    }

    fn ladder(&mut self, page: &mut Page) -> Result<(), Break> {
        Ok(ladder::print(page, &self.events, self.server_port)?)
    }
}
