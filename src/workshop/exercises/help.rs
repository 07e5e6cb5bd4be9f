//! Help with an exercise: hints that deepen, a solution, a fresh start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anstyle::AnsiColor;
use similar::TextDiff;

use crate::view::paint::{Page, QUIET, STRONG, harmless, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::progress::{Entry, note};
use crate::workshop::exercises::sources::Sources;
use crate::workshop::exercises::work::Work;
use crate::workshop::exercises::{Exercise, Kind, Workshop, show};

/// How many unchanged lines are shown around a change.
const AROUND: usize = 3;

/// The next hint; all of them once the last one has been shown. `again` is what asks for the next.
pub fn hint(page: &mut Page, work: &Work, exercise: &Exercise, again: &str) -> Result<(), Problem> {
    let (number, hints) = (exercise.number, &exercise.hints);
    if hints.is_empty() {
        let what = format!(
            "{number} is done by hand: there are no hints, and its explanation is shown by make solution{number}."
        );
        return Ok(page.line(&what, 0)?);
    }
    let mut before = 0;
    note(work, number, |entry| {
        entry.begin();
        before = entry.hints.min(hints.len());
        entry.hints = (before + 1).min(hints.len());
    })?;
    let all_were_shown = before == hints.len();
    let shown = if all_were_shown { 0..hints.len() } else { before..before + 1 };
    for index in shown {
        page.line(&in_style(STRONG, &format!("hint {} of {}", index + 1, hints.len())), 0)?;
        for line in hints[index].lines() {
            page.line(&format!("  {line}"), 2)?;
        }
    }
    let left = hints.len() - (before + 1).min(hints.len());
    match left {
        _ if all_were_shown => {}
        0 => page.line(&in_style(QUIET, "That was the last hint."), 0)?,
        1 => page.line(&in_style(QUIET, &format!("One more, which shows it: {again}")), 0)?,
        _ => page.line(&in_style(QUIET, &format!("{left} more, each a deeper one: {again}")), 0)?,
    }
    Ok(())
}

/// The solution, if it may be seen: after a pass, or when asked for twice. Whether it was shown.
pub fn solution(
    page: &mut Page,
    workshop: &Workshop,
    work: &Work,
    exercise: &Exercise,
    again: &str,
) -> Result<bool, Problem> {
    let mut may_be_seen = false;
    let entry = note(work, exercise.number, |entry| {
        may_be_seen = entry.is_done() || entry.asked;
        entry.begin();
        entry.asked = true;
        // What is done by hand is done when its explanation is read.
        if may_be_seen && exercise.kind == Kind::Experiment {
            entry.finish();
        }
    })?;
    if !may_be_seen {
        let left = exercise.hints.len() - entry.hints.min(exercise.hints.len());
        let first = match exercise.kind {
            Kind::Experiment => "Have you tried it, and written your answer down?".into(),
            Kind::Predict => "Have you made your prediction? The kernel has the answer.".into(),
            _ if left == 0 => "The solution opens when your server passes.".into(),
            _ => format!("The solution opens when your server passes, and there are hints left: {left}."),
        };
        page.line(&format!("{first} It is shown at once if you ask once more: {again}"), 0)?;
        return Ok(false);
    }
    if exercise.kind.has_files() {
        differences(page, workshop, work, exercise)?;
    }
    show::explanation(page, workshop, exercise)?;
    Ok(true)
}

/// What a solution changes in the learner's files.
fn differences(page: &mut Page, workshop: &Workshop, work: &Work, exercise: &Exercise) -> Result<(), Problem> {
    let solution = workshop.solution(exercise)?;
    let now = files_now(workshop, work, exercise)?;
    let directory = work.told(&work.directory_of(exercise.number));
    let mut differ = false;
    for (file, text) in &solution.files {
        let old = now.get(file).map_or("", String::as_str);
        let diff = TextDiff::from_lines(old, text);
        let mut unified = diff.unified_diff();
        let unified = unified.context_radius(AROUND);
        if old == text {
            continue;
        }
        differ = true;
        page.line(&in_style(STRONG, &format!("{directory}/{}: yours - and the solution +", file.display())), 2)?;
        for line in unified.to_string().lines() {
            let style = match line.as_bytes().first() {
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                _ => QUIET,
            };
            page.line(&in_style(style, &harmless(line.as_bytes())), 4)?;
        }
        page.gap()?;
    }
    if !differ {
        page.line("Your files are those of the solution.", 0)?;
        page.gap()?;
    }
    Ok(())
}

/// The learner's files, and the starting files where the learner has none.
fn files_now(workshop: &Workshop, work: &Work, exercise: &Exercise) -> Result<BTreeMap<PathBuf, String>, Problem> {
    let Sources { files: start } = workshop.starting_files(exercise)?;
    let theirs = Sources { files: start.clone() }.as_they_are_in(&work.directory_of(exercise.number));
    let now = start.into_iter().map(|(file, laid)| {
        let own = theirs.get(&file).and_then(Option::as_ref);
        let text = own.map_or(laid, |own| String::from_utf8_lossy(own).into_owned());
        (file, text)
    });
    Ok(now.collect())
}

/// Moves what is there into the stash, and lays the starting files.
pub fn reset(page: &mut Page, workshop: &Workshop, work: &Work, exercise: &Exercise) -> Result<(), Problem> {
    if !exercise.kind.has_files() {
        let what = format!("{} is of kind {}: it has no files to reset", exercise.number, exercise.kind.word());
        return Err(Problem::Told(what));
    }
    // Before anything is moved: it would be a pity if the new ones could not be made.
    workshop.starting_files(exercise)?;
    if let Some(stash) = work.stash(exercise.number)? {
        page.line(&format!("What was there is kept in {}/.", work.told(&stash)), 0)?;
    }
    work.lay_if_needed(workshop, exercise)?;
    note(work, exercise.number, Entry::begin)?;
    Ok(page.line(&format!("{}/ is as it was at the start.", work.told(&work.directory_of(exercise.number))), 0)?)
}
