//! A program while it is watched: what it prints, and what is typed for it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{Cue, Part};
use crate::decode::syscall;
use crate::event::End;
use crate::lens::observe::Observation;
use crate::sys::start::Start;
use crate::sys::terminal::pseudo_terminal;
use crate::workshop::Problem;
use crate::workshop::lines::Lines;

/// How many lines of its standard error are kept, for when it fails.
const LAST_WORDS: usize = 6;

/// A running program.
pub struct Player {
    pub role: String,
    pub pid: u32,
    pub ended: Option<End>,
    /// Its program and arguments, with the port in them.
    pub command: Vec<OsString>,
    output: Lines,
    errors: Lines,
    last_words: VecDeque<Vec<u8>>,
    input: Option<File>,
    to_type: Vec<u8>,
    /// What is typed later, each when its cue is given.
    later: VecDeque<(Cue, Vec<u8>)>,
    /// Whether it reads what comes on our own input.
    pub reads_ours: bool,
    /// Whether its input stays open when everything is typed.
    keeps_input: bool,
}

impl Player {
    /// Starts it.
    pub fn start(part: &Part, port: u16, observation: &mut Observation) -> Result<Self, Problem> {
        let (terminal, its_terminal) =
            pseudo_terminal().map_err(Problem::while_doing("open a terminal for a program (/dev/ptmx)"))?;
        let piping = Problem::while_doing("open a pipe to a program");
        let (errors, its_errors) = io::pipe().map_err(&piping)?;
        let (its_input, input) = io::pipe().map_err(&piping)?;
        let command = part.words(port);
        let start = Start {
            command: command.clone(),
            // Its output is shown line by line, among others': colours and cursor movements would not survive that.
            environment: vec![("PORT", port.to_string()), ("TERM", "dumb".into())],
            stdio: [Some(OwnedFd::from(its_input)), Some(its_terminal), Some(OwnedFd::from(its_errors))],
            own_group: true,
            afresh: true,
            calls: syscall::numbers(),
        };
        let pid = observation
            .start(&part.role, start, part.gate.clone())
            .map_err(Problem::while_doing("start and follow a program (ptrace)"))?;
        let input = OwnedFd::from(input);
        // A program that does not read is not to hold us up.
        fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| piping(errno.into()))?;
        Ok(Self {
            role: part.role.clone(),
            pid,
            ended: None,
            command,
            output: Lines::new(terminal),
            errors: Lines::new(errors.into()),
            last_words: VecDeque::new(),
            input: Some(input.into()),
            to_type: part.typed.clone().unwrap_or_default(),
            later: part.later.iter().cloned().collect(),
            reads_ours: part.typed.is_none(),
            keeps_input: part.keeps_input,
        })
    }

    /// What to wait for.
    pub fn waits_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.output, &self.errors].into_iter().filter_map(Lines::waits_for)
    }

    /// The lines that it has printed since.
    pub fn lines(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = self.output.read_what_is_there()?;
        for line in self.errors.read_what_is_there()? {
            self.last_words.push_back(line.clone());
            if self.last_words.len() > LAST_WORDS {
                self.last_words.pop_front();
            }
            lines.push(line);
        }
        Ok(lines)
    }

    /// The last lines that it printed on its standard error.
    pub fn last_words(&self) -> impl Iterator<Item = &[u8]> {
        self.last_words.iter().map(Vec::as_slice)
    }

    /// Gives it what came on our own input, or the end of it.
    pub fn hand_on(&mut self, bytes: &[u8]) {
        self.to_type.extend(bytes);
        self.reads_ours = !bytes.is_empty();
    }

    /// Types this, behind all that is still to be typed.
    pub fn type_too(&mut self, bytes: &[u8]) {
        self.to_type.extend(bytes);
    }

    /// Its input ends when all that is to be typed is typed.
    pub fn end_input(&mut self) {
        self.keeps_input = false;
    }

    /// What it waits for until more is typed for it.
    pub fn cue(&self) -> Option<&Cue> {
        self.later.front().map(|(cue, _)| cue)
    }

    /// That was given: what comes next is to be typed.
    pub fn take_cue(&mut self) {
        self.to_type.extend(self.later.pop_front().into_iter().flat_map(|(_, text)| text));
    }

    /// Whether all that was to be typed is typed.
    pub fn has_typed(&self) -> bool {
        self.input.is_none() || self.to_type.is_empty()
    }

    /// Types as much as it takes, and says what that was; then the end of input, if nothing more is to come.
    pub fn type_on(&mut self) -> Vec<u8> {
        let mut typed = Vec::new();
        let Some(input) = &mut self.input else { return typed };
        while !self.to_type.is_empty() {
            match input.write(&self.to_type) {
                Ok(count) => typed.extend(self.to_type.drain(..count)),
                Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => return typed,
                // EPIPE: it does not read any more.
                Err(_) => self.to_type.clear(),
            }
        }
        if !self.reads_ours && !self.keeps_input && self.later.is_empty() {
            self.input = None;
        }
        typed
    }

    /// Nothing more is typed for it.
    pub fn close_input(&mut self) {
        self.input = None;
        self.reads_ours = false;
    }
}
