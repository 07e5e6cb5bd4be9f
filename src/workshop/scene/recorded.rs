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
use crate::scene::{Action, Asked, Prediction, Scene, Shown, Step, Value};
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

    /// What it says otherwise than this one, which was made just now: an answer that is another one on its menu, or a line that
    /// prints and of which it knows nothing. Not each number and call: how many bytes fit into a buffer, and how often
    /// somebody has to read until he has all, is another story each time.
    pub fn differs_from(&self, fresh: &Self, scene: &Scene) -> Option<String> {
        let mut open: Vec<&Prediction> = Vec::new();
        for Step { line, action, .. } in &scene.steps {
            match action {
                Action::Predict(prediction) => open.push(prediction),
                Action::Reveal => {
                    let (ours, theirs) = (self.chosen(*line, &open), fresh.chosen(*line, &open));
                    if ours != theirs {
                        return Some(format!("line {line} reveals {}, and not {}", theirs.join(", "), ours.join(", ")));
                    }
                    open.clear();
                }
                Action::Print(shown) if *shown != Shown::Ladder && !self.lines.contains_key(line) => {
                    return Some(format!("there is nothing about line {line}, which prints"));
                }
                _ => {}
            }
        }
        None
    }

    /// What was revealed by this line, each as its menu has it.
    fn chosen(&self, line: usize, open: &[&Prediction]) -> Vec<String> {
        let revealed = self.revealed.get(&line).map(Vec::as_slice).unwrap_or_default();
        let on_menu = |(index, seen): (usize, &Value)| {
            let mut menu = open.get(index).into_iter().flat_map(|prediction| &prediction.menu);
            menu.find(|alternative| alternative.value.admits(seen))
                .map_or_else(|| seen.to_string(), ToString::to_string)
        };
        revealed.iter().enumerate().map(on_menu).collect()
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
