//! `socklab workshop-check`: the workshop checks itself.
//!
//! Every solution passes. Every starting file compiles and fails, by the check that its exercise names. Every planted fault is
//! caught by the check that names it, and by no other. Every scene of a prediction plays, with the truth on its menu, and its
//! recording says the same.

mod items;
mod judge;
mod recordings;

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::view::paint::{OWN, Page, SERVER, STRONG, harmless, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::{Kind, Workshop};
use crate::workshop::labs::LABS;

use items::{Finding, Item, paper};
pub use judge::Report;
pub use recordings::record;

/// How many exercises each lab has at least that are asked and judged here: those by hand do not count.
const LEAST_EXERCISES: usize = 5;
/// How many faults that can be planted there are at least: two for each of the first seven labs, and one more.
const LEAST_MUTANTS: usize = 15;
/// How many servers are judged at the same time: each is mostly waited for.
const AT_ONCE: usize = 2;

/// Checks everything, or only what belongs to `only`: a lab, an exercise, or a fault by its name.
pub fn verify(only: Option<&str>) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let mut page = Page::stdout();
    let mut tally = Tally::default();
    for Finding { name, found } in paper(&workshop, only)? {
        tally.count(&mut page, &name, &found)?;
    }
    if only.is_none() {
        counts(&workshop, &mut page, &mut tally)?;
    }
    page.flush()?;
    let (items, broken) = items::build(&workshop, only, &mut page)?;
    for Finding { name, found } in broken {
        tally.count(&mut page, &name, &found)?;
    }
    page.flush()?;
    judge_all(&workshop.root, items, &mut page, &mut tally)?;

    let (exercises, mutants) = (workshop.exercises.len(), workshop.mutants.len());
    tally.verdict(&mut page, only, &format!("{exercises} exercises, {mutants} faults"))
}

/// How many were right, and how many were not.
#[derive(Default)]
struct Tally {
    right: usize,
    wrong: usize,
}

impl Tally {
    /// Prints a line for one, and counts it.
    fn count(&mut self, page: &mut Page, name: &str, found: &Result<String, String>) -> Result<(), Problem> {
        let (style, word, text) = match found {
            Ok(text) => (SERVER, "ok   ", text),
            Err(text) => (OWN, "WRONG", text),
        };
        *if found.is_ok() { &mut self.right } else { &mut self.wrong } += 1;
        Ok(page.line(&format!("{} {name:<34} {}", in_style(style, word), harmless(text.as_bytes())), 6)?)
    }

    /// Prints the last line, and says what the exit code is.
    fn verdict(&self, page: &mut Page, only: Option<&str>, of_what: &str) -> Result<ExitCode, Problem> {
        if self.right + self.wrong == 0 {
            return Err(Problem::Told(format!("there is nothing called {:?}", only.unwrap_or_default())));
        }
        page.gap()?;
        let summary = format!("{of_what}: {} are as they should be, {} are not", self.right, self.wrong);
        page.line(&in_style(STRONG, &summary), 2)?;
        page.flush()?;
        Ok(if self.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn counts(workshop: &Workshop, page: &mut Page, tally: &mut Tally) -> Result<(), Problem> {
    let enough = |count: usize, least: usize| {
        let text = format!("{count}, of at least {least}");
        if count >= least { Ok(text) } else { Err(text) }
    };
    for lab in LABS {
        let judged = workshop.of_lab(lab.number).filter(|exercise| exercise.kind != Kind::Experiment).count();
        tally.count(page, &format!("lab {} exercises", lab.number), &enough(judged, LEAST_EXERCISES))?;
    }
    tally.count(page, "number of faults", &enough(workshop.mutants.len(), LEAST_MUTANTS))
}

/// Judges them, some at a time, and prints each as soon as it and all before it are done.
fn judge_all(root: &Path, items: Vec<Item>, page: &mut Page, tally: &mut Tally) -> Result<(), Problem> {
    let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
    let waiting: Mutex<VecDeque<(usize, Item)>> = Mutex::new(items.into_iter().enumerate().collect());
    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        let (told, news) = std::sync::mpsc::channel();
        for _ in 0..AT_ONCE {
            let told = told.clone();
            scope.spawn(move || {
                while let Some((index, item)) = take() {
                    // Nobody listens where printing has failed.
                    if told.send((index, judge::judge(root, &item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut found: Vec<Option<Result<String, String>>> = vec![None; names.len()];
        let mut next = 0;
        for (index, result) in news {
            found[index] = Some(result);
            while let Some(Some(result)) = found.get(next) {
                tally.count(page, &names[next], result)?;
                page.flush()?;
                next += 1;
            }
        }
        Ok(())
    })
}
