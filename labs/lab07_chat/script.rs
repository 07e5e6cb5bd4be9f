//! A script for the client: lines to type, pauses between them, and lines to wait for.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use kit::{During, Failure, printable};

use crate::typed::{self, Typed, nearest};

/// How long `@wait` waits where no `@limit` came before it.
const USUAL_LIMIT: Duration = Duration::from_secs(10);
/// The longest pause and the longest limit.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const DIRECTIVES: [&str; 3] = ["@pause", "@wait", "@limit"];

/// A whole script, read and checked before its first line is typed.
#[derive(PartialEq, Debug)]
pub struct Script {
    file: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One line of a script.
#[derive(PartialEq, Debug)]
pub struct Step {
    number: usize,
    /// What is done.
    pub action: Action,
}

/// What a line of a script does.
#[derive(PartialEq, Debug)]
pub enum Action {
    /// Types a line.
    Type(String),
    /// Lets time pass.
    Pause(Duration),
    /// Waits until a line that contains the text has been shown.
    Wait {
        /// What it contains.
        text: String,
        /// How long at most.
        limit: Duration,
    },
}

impl Script {
    /// Reads a script from a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).during("read", &file)?;
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&file, &text),
            Err(_) => Err(Error::new(ErrorKind::InvalidData, "the script is not UTF-8")).during("read", &file),
        }
    }

    /// Reads a script from its text; `file` is what mistakes are reported for.
    pub fn parse(file: &str, text: &str) -> Result<Self, Failure> {
        let mut limit = USUAL_LIMIT;
        let mut script = Self { file: file.into(), steps: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            match action(line, &mut limit) {
                Ok(Some(action)) => script.steps.push(Step { number, action }),
                Ok(None) => {}
                Err(mistake) => return Err(script.failure(number, &mistake)),
            }
        }
        Ok(script)
    }

    /// What is reported when `step` could not be done.
    pub fn failure_at(&self, step: &Step, why: &str) -> Failure {
        self.failure(step.number, why)
    }

    fn failure(&self, number: usize, why: &str) -> Failure {
        let file = printable(self.file.as_bytes());
        Failure::new("script", format!("{file}:{number}"), Error::other(printable(why.as_bytes())))
    }
}

fn action(line: &str, limit: &mut Duration) -> Result<Option<Action>, String> {
    let line = line.trim_end();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if !line.starts_with('@') {
        return match typed::read(line) {
            Typed::Wrong(mistake) => Err(mistake),
            Typed::Nothing => Ok(None),
            _ => Ok(Some(Action::Type(line.into()))),
        };
    }
    let (directive, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (directive, rest.trim()) {
        ("@pause", rest) => Ok(Some(Action::Pause(duration(rest)?))),
        ("@wait", "") => Err("@wait needs the text to wait for: @wait Bob has joined".into()),
        ("@wait", text) => Ok(Some(Action::Wait { text: text.into(), limit: *limit })),
        ("@limit", rest) => {
            *limit = duration(rest)?;
            Ok(None)
        }
        _ => Err(unknown(directive)),
    }
}

fn unknown(directive: &str) -> String {
    let help = match nearest(directive, DIRECTIVES.into_iter()) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("there are {}.", DIRECTIVES.join(", ")),
    };
    format!("there is no {directive}; {help} A message that begins with @ is typed as MESSAGE {directive}")
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time, such as 500ms or 2s");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim_start() {
        "ms" => number / 1000.0,
        "s" => number,
        _ => return Err(wrong()),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if duration > LONGEST { Err(format!("{text} is longer than a day")) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(text: &str) -> Vec<Action> {
        Script::parse("demo", text).unwrap().steps.into_iter().map(|step| step.action).collect()
    }

    fn mistake(text: &str) -> String {
        Script::parse("demo.chat", text).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_typed_and_comments_and_empty_lines_are_not() {
        let text = "# a demo\n\nREGISTER Alice\r\n  Hello, Bob! # not a comment\n/users\n";
        let expected = ["REGISTER Alice", "  Hello, Bob! # not a comment", "/users"];
        assert_eq!(actions(text), expected.map(|line| Action::Type(line.into())));
    }

    #[test]
    fn pauses_and_waits_have_their_lengths() {
        let text = "@pause 500ms\n@pause 1.5s\n@wait Bob has joined\n@limit 2s\n@wait  hello \n";
        let wait = |text: &str, seconds| Action::Wait { text: text.into(), limit: Duration::from_secs(seconds) };
        assert_eq!(
            actions(text),
            [
                Action::Pause(Duration::from_millis(500)),
                Action::Pause(Duration::from_millis(1500)),
                wait("Bob has joined", 10),
                wait("hello", 2),
            ]
        );
    }

    #[test]
    fn a_mistake_names_file_line_and_the_nearest_word() {
        assert!(mistake("hi\n\n@puase 1s").starts_with("script demo.chat:3: there is no @puase; did you mean @pause?"));
        assert!(mistake("/usres").starts_with("script demo.chat:1: there is no /usres; did you mean /users?"));
        assert!(mistake("@alice hi").contains("there are @pause, @wait, @limit. A message that begins with @"));
        assert!(mistake("@wait").contains("demo.chat:1: @wait needs the text"));
        assert!(mistake("# x\n/name").contains("demo.chat:2: /name needs a name"));
    }

    #[test]
    fn a_length_of_time_needs_a_number_and_a_unit() {
        for wrong in ["", "5", "s", "1.2.3s", "-1s", "1m", "5 s s", "NaNs", "infs"] {
            assert!(mistake(&format!("@pause {wrong}")).contains("is no length of time"), "{wrong}");
        }
        assert!(mistake("@limit 999999999s").contains("longer than a day"));
        assert!(mistake(&format!("@pause {}s", "9".repeat(400))).contains("script demo.chat:1"));
    }

    #[test]
    fn a_mistake_cannot_carry_an_escape_sequence_to_the_terminal() {
        assert!(!mistake("/na\x1b[2Jme").contains('\x1b'));
    }
}
