//! One attempt at an exercise: the learner's files are built and checked, or the scene is run and compared.

use std::path::PathBuf;
use std::process::Stdio;

use crate::view::paint::{OWN, Page, QUIET, SERVER, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::check::{self, Verdict};
use crate::workshop::exercises::predict::{self, Compared};
use crate::workshop::exercises::progress::{Entry, note};
use crate::workshop::exercises::work::compile::Run;
use crate::workshop::exercises::work::{Package, Work};
use crate::workshop::exercises::{Exercise, Kind, Workshop, show};

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Not yet: a check failed, the program was not compiled, or the prediction was another one.
    NotYet,
    /// It could not be judged.
    NotJudged,
}

/// Where an attempt is made, and by whom commands are run.
pub struct Attempt<'a, 'r> {
    /// All exercises.
    pub workshop: &'a Workshop,
    /// The learner's files.
    pub work: &'a Work,
    /// The exercise.
    pub exercise: &'a Exercise,
    /// Where it is told.
    pub page: &'a mut Page,
    /// Who runs commands.
    pub run: &'a mut Run<'r>,
}

impl Attempt<'_, '_> {
    /// Makes it.
    pub fn make(&mut self, answers: &[String]) -> Result<Outcome, Problem> {
        match self.exercise.kind {
            Kind::Predict => self.predict(answers),
            Kind::Break | Kind::Build => self.check(),
            // By hand: there is nothing to be run here.
            Kind::Experiment => Ok(Outcome::NotJudged),
        }
    }

    fn predict(&mut self, answers: &[String]) -> Result<Outcome, Problem> {
        let scene = self.exercise.scene.as_deref().unwrap_or(&self.exercise.directory);
        let mut command = predict::command(scene, answers)?;
        self.page.flush()?;
        let status = (self.run)(&mut command).map_err(Problem::while_doing("run the scene"))?;
        let compared = predict::compared(status);
        if compared == Compared::CouldNot {
            self.page.line(&in_style(OWN, "The scene was not run to its end, and does not count."), 0)?;
            return Ok(Outcome::NotJudged);
        }
        let right = compared == Compared::Right;
        note(self.work, self.exercise.number, |entry| {
            entry.finish();
            entry.predicted = entry.predicted.or(Some(right));
        })?;
        self.page.gap()?;
        show::explanation(self.page, self.workshop, self.exercise)?;
        Ok(if right { Outcome::Done } else { Outcome::NotYet })
    }

    /// Lays the files if there are none, builds them, and has them checked.
    fn check(&mut self) -> Result<Outcome, Problem> {
        let number = self.exercise.number;
        if self.work.lay_if_needed(self.workshop, self.exercise)? {
            let directory = self.work.told(&self.work.directory_of(number));
            self.page.line(&format!("The files were laid in {directory}/: they are yours to change."), 0)?;
        }
        note(self.work, number, Entry::begin)?;
        let Some(server) = self.build()? else { return Ok(Outcome::NotYet) };
        let mut command = check::command(self.exercise, &server)?;
        self.page.flush()?;
        let status = (self.run)(command.stdin(Stdio::null())).map_err(Problem::while_doing("start the check"))?;
        self.page.gap()?;
        match check::verdict(status) {
            Verdict::Passed => self.passed(),
            Verdict::Failed => self.failed(),
            Verdict::NotJudged => {
                self.page.line(&in_style(OWN, "It could not be judged: this says nothing about your server."), 0)?;
                Ok(Outcome::NotJudged)
            }
        }
    }

    /// The learner's server, built; `None` where it could not be, which has been told.
    pub fn build(&mut self) -> Result<Option<PathBuf>, Problem> {
        self.work.check_files(self.exercise)?;
        self.page.flush()?;
        let package = Package::of_exercise(self.exercise);
        let built = self.work.compile(&package, self.run)?;
        if built.is_none() {
            let missing = self.work.missing(&self.workshop.starting_files(self.exercise)?, self.exercise.number);
            if !missing.is_empty() {
                let names: Vec<String> = missing.iter().map(|file| self.work.told(file)).collect();
                self.page.line(&format!("not there any more, of what was laid: {}", names.join(", ")), 2)?;
            }
            self.page.line(&in_style(OWN, "It does not compile; cargo says above why."), 0)?;
        }
        Ok(built)
    }

    fn passed(&mut self) -> Result<Outcome, Problem> {
        let number = self.exercise.number;
        note(self.work, number, Entry::finish)?;
        self.page.line(&in_style(SERVER, &format!("{number} is done: {}", self.exercise.title)), 2)?;
        self.page.gap()?;
        show::explanation(self.page, self.workshop, self.exercise)?;
        Ok(Outcome::Done)
    }

    fn failed(&mut self) -> Result<Outcome, Problem> {
        let directory = self.work.directory_of(self.exercise.number);
        let is_untouched = self.workshop.starting_files(self.exercise)?.are_those_in(&directory);
        if is_untouched {
            let what = match self.exercise.kind {
                Kind::Break => "This failure is expected: the fault is there to be found, and mended. It is your turn.",
                _ => "This failure is expected: what is missing is yours to write.",
            };
            self.page.line(&in_style(OWN, what), 0)?;
        } else {
            self.page.line(&in_style(QUIET, "Not yet."), 0)?;
        }
        Ok(Outcome::NotYet)
    }
}
