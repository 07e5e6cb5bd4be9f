//! How far a learner is: `progress.txt`, one line per exercise, to be read, edited and synchronised as any text.
//!
//! Whoever writes changes the line of one exercise and leaves all others as they are, also those that nobody understands.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

use crate::record;
use crate::workshop::Problem;
use crate::workshop::exercises::Number;
use crate::workshop::exercises::manifest::HINTS;
use crate::workshop::exercises::work::{Work, cargo};

const FILE: &str = "progress.txt";
const HEAD: &str = "\
# How far you are, one line per exercise: its number, then begun or done, how many hints you have seen, and whether you
# have asked for the solution. It is yours to change; a line that socklab does not understand is left as it is.
";

/// How far an exercise is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Status {
    /// Nothing has been done.
    #[default]
    Open,
    /// It was looked at or tried.
    Begun,
    /// It is done.
    Done,
}

/// What is known about one exercise.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Entry {
    /// How far it is.
    pub status: Status,
    /// How many hints have been shown.
    pub hints: usize,
    /// Whether the solution has been asked for.
    pub asked: bool,
    /// Whether the first prediction was what the kernel showed.
    pub predicted: Option<bool>,
    /// What else stands in its line.
    rest: Vec<String>,
}

impl Entry {
    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.status == Status::Done
    }

    /// It has been looked at.
    pub fn begin(&mut self) {
        self.status = self.status.max(Status::Begun);
    }

    /// It is done, from today on.
    pub fn finish(&mut self) {
        if !self.is_done() {
            self.status = Status::Done;
            self.rest.extend(record::moment(SystemTime::now()).map(|now| now.chars().take(10).collect()));
        }
    }

    /// Reads a line: the number, and words in any order.
    fn from_line(line: &str) -> Option<(Number, Self)> {
        let mut words = line.split([' ', '\t', ',', ':', ';', '=']).filter(|word| !word.is_empty());
        let number = words.next()?.parse().ok()?;
        let mut entry = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            match word.to_ascii_lowercase().as_str() {
                "open" => entry.status = Status::Open,
                "begun" => entry.status = Status::Begun,
                "done" => entry.status = Status::Done,
                "solution" => entry.asked = true,
                "right" => entry.predicted = Some(true),
                "otherwise" => entry.predicted = Some(false),
                "hint" | "hints" => {
                    let count = words.next_if(|word| word.parse::<usize>().is_ok()).and_then(|word| word.parse().ok());
                    entry.hints = count.unwrap_or(1).min(HINTS);
                }
                _ => entry.rest.push(word.into()),
            }
        }
        Some((number, entry))
    }

    fn to_line(&self, number: Number) -> String {
        let mut words = vec![format!("{number:<5}")];
        let status = match self.status {
            Status::Open => "open",
            Status::Begun => "begun",
            Status::Done => "done",
        };
        words.push(status.into());
        words.extend(self.predicted.map(|right| if right { "right" } else { "otherwise" }.into()));
        if self.hints > 0 {
            words.push(format!("hints {}", self.hints));
        }
        if self.asked {
            words.push("solution".into());
        }
        words.extend(self.rest.iter().cloned());
        words.join(" ")
    }
}

/// The file, as it was read.
pub struct Progress {
    lines: Vec<Vec<u8>>,
}

impl Progress {
    /// Reads it; where there is none, nothing has been done.
    pub fn read(work: &Work) -> Result<Self, Problem> {
        let path = path(work);
        match fs::read(&path) {
            Ok(text) => Ok(Self::from_text(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { lines: Vec::new() }),
            Err(error) => Err(told(work, &path, &error)),
        }
    }

    fn from_text(text: &[u8]) -> Self {
        let mut lines: Vec<Vec<u8>> = text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        // The end of the last line is not the beginning of another.
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        Self { lines }
    }

    /// What it says about an exercise. Of two lines for one, the later one counts.
    pub fn of(&self, number: Number) -> Entry {
        let found = self.lines.iter().rev().filter_map(|line| entry_in(line)).find(|(its, _)| *its == number);
        found.map(|(_, entry)| entry).unwrap_or_default()
    }

    /// Puts a line in the place of the last one for this exercise, and drops those before it.
    fn set(&mut self, number: Number, entry: &Entry) {
        let is_its = |line: &Vec<u8>| entry_in(line).is_some_and(|(its, _)| its == number);
        let line = entry.to_line(number).into_bytes();
        match self.lines.iter().rposition(is_its) {
            Some(last) => {
                self.lines[last] = line;
                let mut index = 0;
                self.lines.retain(|line| {
                    index += 1;
                    index > last || !is_its(line)
                });
            }
            None => {
                // In the order of the numbers, as far as the file is.
                let later = |line: &Vec<u8>| entry_in(line).is_some_and(|(its, _)| its > number);
                let place = self.lines.iter().position(later).unwrap_or(self.lines.len());
                self.lines.insert(place, line);
            }
        }
    }

    fn to_text(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }
}

fn entry_in(line: &[u8]) -> Option<(Number, Entry)> {
    // A byte-order mark and a carriage return are what some editors leave behind.
    Entry::from_line(String::from_utf8_lossy(line).trim_start_matches('\u{feff}').trim())
}

/// Changes the line of one exercise, and returns what it says then.
pub fn note(work: &Work, number: Number, change: impl FnOnce(&mut Entry)) -> Result<Entry, Problem> {
    let path = path(work);
    fs::create_dir_all(&work.directory).map_err(|error| told(work, &work.directory, &error))?;
    // Two at a time would each write what they had read, and one change be lost. Where the file system has no locks, one
    // has to do without.
    let directory = File::open(&work.directory).map_err(|error| told(work, &work.directory, &error))?;
    let _mine = Flock::lock(directory, FlockArg::LockExclusive).ok();
    let mut progress = Progress::read(work)?;
    let old = progress.of(number);
    let mut entry = old.clone();
    change(&mut entry);
    if entry != old {
        if progress.lines.is_empty() {
            progress.lines = Progress::from_text(HEAD.as_bytes()).lines;
        }
        progress.set(number, &entry);
        cargo::write_atomically(&path, &progress.to_text()).map_err(|error| told(work, &path, &error))?;
    }
    Ok(entry)
}

fn path(work: &Work) -> PathBuf {
    work.directory.join(FILE)
}

fn told(work: &Work, path: &std::path::Path, error: &io::Error) -> Problem {
    Problem::Told(format!("{}: {}", work.told(path), crate::sys::with_name(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_is_read_whatever_the_order_of_its_words() {
        let written = Entry { status: Status::Done, hints: 2, asked: true, ..Entry::default() };
        for line in
            ["1.6 done hints 2 solution", "1.6:\tsolution, hint=2, Done\r", "\u{feff}ex1.6 hints 2 done solution"]
        {
            assert_eq!(Progress::from_text(line.as_bytes()).of(number("1.6")), written, "{line:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for status in [Status::Open, Status::Begun, Status::Done] {
            for (hints, asked, predicted) in [(0, false, None), (3, true, Some(true)), (1, false, Some(false))] {
                let entry = Entry { status, hints, asked, predicted, rest: vec!["2026-03-21".into(), "hard!".into()] };
                assert_eq!(Entry::from_line(&entry.to_line(number("3.10"))), Some((number("3.10"), entry)));
            }
        }
    }

    #[test]
    fn one_line_is_changed_and_all_others_stay() {
        let text = b"\xff\xfe broken\n1.1 done\n\n# mine\n1.6 begun by night\n2.1 done\r\nnot a line\n1.6 open\n";
        let mut progress = Progress::from_text(text);
        let mut entry = progress.of(number("1.6"));
        assert_eq!(entry.status, Status::Open, "the later one counts");
        entry.finish();
        progress.set(number("1.6"), &entry);
        progress.set(number("1.2"), &Entry { hints: 1, ..Entry::default() });
        let today = entry.rest.join(" ");
        let expected =
            format!(" broken\n1.1 done\n\n# mine\n1.2   open hints 1\n2.1 done\r\nnot a line\n1.6   done {today}\n");
        assert_eq!(progress.to_text(), [b"\xff\xfe".as_slice(), expected.as_bytes()].concat());
    }

    #[test]
    fn a_number_of_hints_that_there_cannot_be_is_taken_for_the_last_one() {
        assert_eq!(Progress::from_text(b"1.6 hints 99999999999999999999 x").of(number("1.6")).hints, 1);
        assert_eq!(Progress::from_text(b"1.6 hints 17").of(number("1.6")).hints, HINTS);
    }
}
