//! What a learner types: `socklab exercise`, `hint`, `solution`, `reset`, `progress`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::view::paint::{OWN, Page, QUIET, STRONG, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::attempt::{Attempt, Outcome};
use crate::workshop::exercises::number::LabOrExercise;
use crate::workshop::exercises::progress::{Entry, Progress, note};
use crate::workshop::exercises::work::Work;
use crate::workshop::exercises::{Exercise, Kind, Number, Workshop, help, show};
use crate::workshop::labs::Lab;

/// `socklab exercise 3.2`: shows it, and makes an attempt. `socklab exercise 3`: lists those of the lab.
pub fn exercise(which: LabOrExercise, answers: &[String]) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let mut page = Page::stdout();
    let number = match which {
        LabOrExercise::Exercise(number) => number,
        LabOrExercise::Lab(lab) => {
            show::lab(&mut page, &workshop, &Progress::read(&work)?, lab.number)?;
            page.flush()?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let exercise = workshop.find(number)?;
    if !answers.is_empty() && exercise.kind != Kind::Predict {
        let what = format!("{number} is of kind {}: it does not ask for an answer", exercise.kind.word());
        return Err(Problem::Told(what));
    }
    show::exercise(&mut page, &workshop, &work, exercise)?;
    let outcome = match exercise.kind {
        Kind::Experiment => {
            note(&work, number, Entry::begin)?;
            Outcome::Done
        }
        _ => {
            let mut run = |command: &mut Command| command.status();
            Attempt { workshop: &workshop, work: &work, exercise, page: &mut page, run: &mut run }.make(answers)?
        }
    };
    page.gap()?;
    what_next(&mut page, &workshop, &work, exercise, outcome)?;
    page.flush()?;
    // Whoever sits there has been told, and has made no mistake in typing: make need not call it an error.
    let is_told = exercise.kind == Kind::Predict && outcome == Outcome::NotYet && answers.is_empty();
    Ok(if is_told { ExitCode::SUCCESS } else { exit_code(outcome) })
}

/// 0 where it is done, 1 where it is not, 2 where it could not be judged.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::NotYet => ExitCode::FAILURE,
        Outcome::NotJudged => ExitCode::from(2),
    }
}

fn what_next(
    page: &mut Page,
    workshop: &Workshop,
    work: &Work,
    exercise: &Exercise,
    outcome: Outcome,
) -> Result<(), Problem> {
    // What was predicted otherwise has been explained, and is done with.
    let is_done = outcome == Outcome::Done || (outcome == Outcome::NotYet && exercise.kind == Kind::Predict);
    if !is_done || exercise.kind == Kind::Experiment {
        return Ok(show::commands(page, exercise)?);
    }
    if exercise.kind.has_files() {
        page.line(&format!("another way to write it: make solution{}", exercise.number), 2)?;
    }
    let progress = Progress::read(work)?;
    match workshop.next_open(&progress, Some(exercise.number)) {
        Some(next) => page.line(&format!("next: make ex{}   {}", next.number, next.title), 2)?,
        None => page.line(&in_style(STRONG, "That was the last one: every exercise is done."), 2)?,
    }
    Ok(())
}

/// `socklab hint 3.2`
pub fn hint(number: Number) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let mut page = Page::stdout();
    let exercise = workshop.find(number)?;
    help::hint(&mut page, &work, exercise, &format!("make hint{number}"))?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `socklab solution 3.2`
pub fn solution(number: Number) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let mut page = Page::stdout();
    let exercise = workshop.find(number)?;
    help::solution(&mut page, &workshop, &work, exercise, &format!("make solution{number}"))?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `socklab reset 3.2`
pub fn reset(number: Number) -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let mut page = Page::stdout();
    help::reset(&mut page, &workshop, &work, workshop.find(number)?)?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// `socklab progress`
pub fn progress() -> Result<ExitCode, Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let progress = Progress::read(&work)?;
    let mut page = Page::stdout();
    for lab in crate::workshop::labs::LABS {
        show::lab(&mut page, &workshop, &progress, lab.number)?;
        page.gap()?;
    }
    page.line(&in_style(STRONG, &show::total(&workshop, &progress)), 2)?;
    match workshop.next_open(&progress, None) {
        Some(next) => page.line(&format!("next: make ex{}   {}", next.number, next.title), 2)?,
        None => page.line(&in_style(OWN, "Every exercise is done."), 2)?,
    }
    let file = work.directory.join("progress.txt");
    page.line(&in_style(QUIET, &format!("kept in {}, which is yours to edit", work.told(&file))), 2)?;
    page.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The learner's server for an exercise, built: what `socklab run 3.2` runs. The lab that it is of, and its arguments.
pub fn server_of(number: Number) -> Result<(&'static Lab, PathBuf, Vec<String>), Problem> {
    let workshop = Workshop::read()?;
    let work = Work::of(&workshop.root)?;
    let exercise = workshop.find(number)?;
    if !exercise.kind.has_files() {
        let lab = exercise.lab.number;
        let what = format!("{number} is of kind {}: it has no server of its own; make lab{lab}", exercise.kind.word());
        return Err(Problem::Told(what));
    }
    let mut page = Page::stderr();
    if work.lay_if_needed(&workshop, exercise)? {
        let directory = work.told(&work.directory_of(number));
        page.line(&format!("The files were laid in {directory}/: they are yours to change."), 0)?;
    }
    let mut run = |command: &mut Command| command.status();
    let mut attempt = Attempt { workshop: &workshop, work: &work, exercise, page: &mut page, run: &mut run };
    let built = attempt.build()?;
    page.flush()?;
    match built {
        Some(server) => Ok((exercise.lab, server, exercise.args.clone())),
        None => Err(Problem::Told(format!("{number} was not started"))),
    }
}
