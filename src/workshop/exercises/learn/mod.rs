//! `socklab learn`: the loop that a learner lives in.
//!
//! It only ever adds lines to the terminal: whatever has been shown can be scrolled back to, and nothing depends on what the
//! terminal can do.

mod keys;
mod runner;
mod watch;

use std::collections::VecDeque;
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::read;

use crate::sys::readiness;
use crate::sys::signals::Signals;
use crate::sys::terminal::Keys;
use crate::view::paint::{OWN, Page, QUIET, STRONG, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::attempt::{Attempt, Outcome};
use crate::workshop::exercises::number::LabOrExercise;
use crate::workshop::exercises::progress::{Entry, Progress, note};
use crate::workshop::exercises::work::Work;
use crate::workshop::exercises::{Exercise, Kind, Number, Workshop, commands, help, show};

use keys::{Key, keys_in};
use runner::Runner;
use watch::Watch;

/// Goes through the exercises, from this one on, or from the first that is not done.
pub fn learn(number: Option<Number>) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let progress = Progress::read(&work)?;
    let first = match number {
        Some(number) => Some(workshop.find(number)?),
        None => workshop.next_open(&progress, None),
    };
    let stdin = stdin();
    if !stdin.is_terminal() {
        return without_terminal(&workshop, &progress, first);
    }
    let signals = Signals::take_over_with(&[Signal::SIGTSTP, Signal::SIGQUIT]);
    let signals = signals.map_err(Problem::while_doing("take over the signals"))?;
    let keys = Keys::one_by_one(stdin.as_fd()).map_err(Problem::while_doing("read the terminal key by key"))?;
    let runner = Runner { keys, signals, ended_by: None };
    let mut learn =
        Learn { workshop: &workshop, work: &work, current: None, watch: None, runner, pressed: VecDeque::new() };
    learn.go_to(first)?;
    learn.go_on()
}

/// Once, for who has no keys to press.
fn without_terminal(workshop: &Workshop, progress: &Progress, first: Option<&Exercise>) -> Result<ExitCode, Problem> {
    if let Some(first) = first {
        return commands::exercise(LabOrExercise::Exercise(first.number), &[]);
    }
    let mut page = Page::stdout();
    the_end(&mut page, workshop, progress)?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// There is no exercise left: it has to be seen that this is the end, and what was reached.
fn the_end(page: &mut Page, workshop: &Workshop, progress: &Progress) -> Result<(), Problem> {
    page.gap()?;
    page.line(&in_style(STRONG, "That was the last exercise: you have done them all."), 0)?;
    page.gap()?;
    page.line(&show::total(workshop, progress), 2)?;
    show::labs(page, workshop, progress)?;
    page.gap()?;
    let what_now =
        "What now: a server of your own. socklab check judges it in any language, and socklab watch shows it.";
    Ok(page.line(&in_style(QUIET, what_now), 0)?)
}

/// What comes next.
enum News {
    Pressed(Key),
    Saved,
    /// After Ctrl-Z and fg.
    Back,
    Ended,
}

struct Learn<'a> {
    workshop: &'a Workshop,
    work: &'a Work,
    /// `None` at the end.
    current: Option<&'a Exercise>,
    /// Where there are files to be watched.
    watch: Option<Watch>,
    runner: Runner<'a>,
    /// Keys that were pressed while something else was done.
    pressed: VecDeque<Key>,
}

impl<'a> Learn<'a> {
    /// Until somebody ends it.
    fn go_on(mut self) -> Result<ExitCode, Problem> {
        loop {
            match self.next()? {
                News::Ended => break,
                News::Pressed(Key::End | Key::Letter('q')) => break,
                News::Pressed(Key::Enter) => self.enter()?,
                News::Pressed(Key::Letter(letter)) => self.letter(letter)?,
                News::Saved => self.saved()?,
                News::Back => self.show_keys()?,
            }
        }
        let mut page = Page::stdout();
        page.gap()?;
        page.line(&in_style(QUIET, "What you have done is kept: make learn goes on with it."), 0)?;
        page.flush()?;
        Ok(match self.runner.ended_by {
            None | Some(Signal::SIGINT) => ExitCode::SUCCESS,
            Some(signal) => ExitCode::from(128 + signal as u8),
        })
    }

    /// Waits for a key, a changed file or a signal.
    fn next(&mut self) -> Result<News, Problem> {
        let stdin = stdin();
        loop {
            if self.runner.take_signals(|_| {})? {
                return Ok(News::Back);
            }
            if self.runner.ended_by.is_some() {
                return Ok(News::Ended);
            }
            if let Some(key) = self.pressed.pop_front() {
                return Ok(News::Pressed(key));
            }
            if self.watch.as_mut().is_some_and(Watch::has_changed) {
                return Ok(News::Saved);
            }
            let limit = self.watch.as_ref().map_or(watch::LOOK, Watch::next_look);
            let waiting = Problem::while_doing("wait for a key");
            let ready = readiness::wait(&[stdin.as_fd(), self.runner.signals.as_fd()], limit).map_err(&waiting)?;
            if ready[0] {
                let mut bytes = [0; 256];
                match read(&stdin, &mut bytes) {
                    // The terminal is gone.
                    Ok(0) | Err(Errno::EIO) => return Ok(News::Ended),
                    Ok(length) => self.pressed.extend(keys_in(&bytes[..length])),
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    Err(errno) => return Err(waiting(errno.into())),
                }
            }
        }
    }

    /// Shows an exercise; there being none is the end.
    fn go_to(&mut self, exercise: Option<&'a Exercise>) -> Result<(), Problem> {
        let mut page = Page::stdout();
        (self.current, self.watch) = (exercise, None);
        page.gap()?;
        match exercise {
            None => the_end(&mut page, self.workshop, &Progress::read(self.work)?)?,
            Some(exercise) => {
                show::exercise(&mut page, self.workshop, self.work, exercise)?;
                let is_done = note(self.work, exercise.number, Entry::begin)?.is_done();
                if is_done {
                    page.line(&in_style(QUIET, "You have done this one before."), 0)?;
                }
                if exercise.kind.has_files() {
                    if self.work.lay_if_needed(self.workshop, exercise)? {
                        page.line("The files were laid: they are yours to change, with any editor.", 0)?;
                    }
                    page.line("They are checked each time you save.", 0)?;
                    self.watch = Some(Watch::on(self.work.directory_of(exercise.number)));
                }
            }
        }
        page.flush()?;
        self.show_keys()
    }

    /// Which keys there are now.
    fn keys(&self) -> Vec<(&'static str, &'static str)> {
        let Some(exercise) = self.current else { return vec![("l", "list"), ("q", "quit")] };
        let mut keys = match exercise.kind {
            Kind::Experiment => vec![("Enter", "tried it: explain")],
            Kind::Predict => vec![("Enter", "answer and run"), ("h", "hint"), ("s", "solution")],
            Kind::Break | Kind::Build => vec![("Enter", "check now"), ("h", "hint"), ("s", "solution"), ("r", "reset")],
        };
        keys.extend([("n", "next"), ("l", "list"), ("q", "quit")]);
        keys
    }

    fn show_keys(&self) -> Result<(), Problem> {
        let mut page = Page::stdout();
        let shown: Vec<String> =
            self.keys().iter().map(|(key, what)| format!("{} {what}", in_style(STRONG, key))).collect();
        page.gap()?;
        page.line(&shown.join("  "), 0)?;
        Ok(page.flush()?)
    }

    fn letter(&mut self, letter: char) -> Result<(), Problem> {
        let is_shown = self.keys().iter().any(|(key, _)| key.len() == 1 && key.starts_with(letter));
        let mut page = Page::stdout();
        let exercise = match self.current {
            Some(exercise) if is_shown => exercise,
            None if letter == 'l' => return self.list(page),
            _ => return self.show_keys(),
        };
        match letter {
            'n' => return self.next_exercise(exercise),
            'l' => return self.list(page),
            'r' => return self.reset(exercise),
            'h' => {
                page.gap()?;
                help::hint(&mut page, self.work, exercise, "h")?;
            }
            _ => {
                page.gap()?;
                help::solution(&mut page, self.workshop, self.work, exercise, "s")?;
            }
        }
        page.flush()?;
        self.show_keys()
    }

    fn next_exercise(&mut self, now: &'a Exercise) -> Result<(), Problem> {
        let progress = Progress::read(self.work)?;
        let next = self.workshop.next_open(&progress, Some(now.number));
        if next.is_some_and(|next| next.number == now.number) {
            let mut page = Page::stdout();
            page.gap()?;
            page.line(&format!("All others are done: {} is the only one that is left.", now.number), 0)?;
            page.flush()?;
            return self.show_keys();
        }
        self.go_to(next)
    }

    fn list(&self, mut page: Page) -> Result<(), Problem> {
        let progress = Progress::read(self.work)?;
        page.gap()?;
        if let Some(exercise) = self.current {
            show::lab(&mut page, self.workshop, &progress, exercise.number.lab)?;
            page.gap()?;
        }
        show::labs(&mut page, self.workshop, &progress)?;
        page.line(&in_style(QUIET, "  all of them: make progress"), 2)?;
        page.flush()?;
        self.show_keys()
    }

    /// Asks first: nothing is lost, but who works in that file may not want it exchanged.
    fn reset(&mut self, exercise: &'a Exercise) -> Result<(), Problem> {
        let mut page = Page::stdout();
        page.gap()?;
        page.line(
            &format!("Lay the files of {} anew? Yours are kept in the stash.  y yes   n no", exercise.number),
            0,
        )?;
        page.flush()?;
        let answer = loop {
            match self.next()? {
                News::Pressed(key) => break key,
                News::Ended => return Ok(()),
                // They are asked about just now.
                News::Saved | News::Back => {}
            }
        };
        if answer == Key::Letter('y') {
            help::reset(&mut page, self.workshop, self.work, exercise)?;
            self.watch = Some(Watch::on(self.work.directory_of(exercise.number)));
        } else {
            page.line("Nothing was changed.", 0)?;
        }
        page.flush()?;
        self.show_keys()
    }

    fn saved(&mut self) -> Result<(), Problem> {
        let mut page = Page::stdout();
        page.gap()?;
        let (work, exercise) = (self.work, self.current);
        let is_missing = |exercise: &Exercise| -> Result<bool, Problem> {
            Ok(!work.missing(&self.workshop.starting_files(exercise)?, exercise.number).is_empty())
        };
        let what = if exercise.map(is_missing).transpose()? == Some(true) { "a file is gone" } else { "saved" };
        page.line(&in_style(QUIET, &format!("-- {what} --")), 0)?;
        page.flush()?;
        self.attempt()
    }

    fn enter(&mut self) -> Result<(), Problem> {
        match self.current {
            None => self.show_keys(),
            Some(exercise) if exercise.kind == Kind::Experiment => {
                let mut page = Page::stdout();
                page.gap()?;
                show::explanation(&mut page, self.workshop, exercise)?;
                note(self.work, exercise.number, Entry::finish)?;
                self.done(&mut page, exercise)
            }
            Some(_) => self.attempt(),
        }
    }

    /// Builds and checks, or asks and runs. What goes wrong here is told, and the loop goes on.
    fn attempt(&mut self) -> Result<(), Problem> {
        let Some(exercise) = self.current else { return Ok(()) };
        // Now, and not afterwards: who saves while this one is checked wants that checked, too.
        if let Some(watch) = &mut self.watch {
            watch.refresh();
        }
        let mut page = Page::stdout();
        page.gap()?;
        let runner = &mut self.runner;
        let asks = exercise.kind == Kind::Predict;
        let mut run = |command: &mut Command| {
            if asks { runner.run_with_terminal(command) } else { runner.run(command) }
        };
        let mut attempt =
            Attempt { workshop: self.workshop, work: self.work, exercise, page: &mut page, run: &mut run };
        let outcome = attempt.make(&[]);
        if self.runner.ended_by.is_some() {
            return Ok(());
        }
        match outcome {
            Ok(Outcome::Done) => return self.done(&mut page, exercise),
            // What was predicted otherwise has been explained.
            Ok(Outcome::NotYet) if asks => return self.done(&mut page, exercise),
            Ok(_) => {}
            Err(Problem::Output(error)) => return Err(error.into()),
            Err(problem) => page.line(&in_style(OWN, &problem.to_string()), 2)?,
        }
        page.flush()?;
        self.show_keys()
    }

    /// The success stays on the screen: the next one comes when it is asked for.
    fn done(&self, page: &mut Page, exercise: &Exercise) -> Result<(), Problem> {
        let progress = Progress::read(self.work)?;
        match self.workshop.next_open(&progress, Some(exercise.number)) {
            None => the_end(page, self.workshop, &progress)?,
            Some(next) => {
                page.gap()?;
                page.line(&in_style(STRONG, &format!("n goes on with {}  {}", next.number, next.title)), 0)?;
            }
        }
        page.flush()?;
        self.show_keys()
    }
}
