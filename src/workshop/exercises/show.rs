//! An exercise, and lists of them, on the terminal.

use std::io;

use crate::view::paint::{KERNEL, OWN, Page, QUIET, SERVER, STRONG, in_style};
use crate::workshop::Problem;
use crate::workshop::exercises::progress::{Entry, Progress, Status};
use crate::workshop::exercises::section::{self, DOCUMENT, Section};
use crate::workshop::exercises::work::Work;
use crate::workshop::exercises::{Exercise, Kind, Workshop};
use crate::workshop::labs::LABS;

/// Where the second column begins.
const COLUMN: usize = 13;

/// Prints what is asked, what to type where, and what to look at.
pub fn exercise(page: &mut Page, workshop: &Workshop, work: &Work, exercise: &Exercise) -> Result<(), Problem> {
    let Exercise { title, kind, minutes, question, .. } = exercise;
    let about = format!("{}, {minutes} minutes", kind.word());
    page.line(
        &format!("{}   {}", in_style(STRONG, &format!("{}  {title}", exercise.number)), in_style(QUIET, &about)),
        5,
    )?;
    page.gap()?;
    if *kind == Kind::Experiment {
        section::print(page, &Section::of(&workshop.root, exercise)?.text)?;
        return Ok(());
    }
    let section = kind.has_files().then(|| Section::of(&workshop.root, exercise)).transpose()?;
    let task = section.as_ref().map(Section::task);
    if !task.is_some_and(|task| bare(task).contains(&bare(question))) {
        page.line(&in_style(STRONG, &bare(question)), 0)?;
        page.gap()?;
    }
    if let Some(task) = task {
        section::print(page, task)?;
        page.gap()?;
        row(page, "your file", &files(workshop, work, exercise)?)?;
    }
    for typed in &exercise.terminals {
        command(page, &format!("terminal {}", typed.terminal), &typed.command, &typed.remark)?;
    }
    for (index, look) in exercise.look.iter().enumerate() {
        command(page, if index == 0 { "look at" } else { "" }, &look.command, &look.shows)?;
    }
    row(page, "more in", &format!("{DOCUMENT}#{}", exercise.anchor()))?;
    Ok(page.gap()?)
}

/// Its words on one line, without the marks of Markdown.
fn bare(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(['*', '`'], "")
}

/// The file to work on: the server, or the directory where there are others beside it.
fn files(workshop: &Workshop, work: &Work, exercise: &Exercise) -> Result<String, Problem> {
    let sources = workshop.starting_files(exercise)?;
    let directory = work.told(&work.directory_of(exercise.number));
    let what = match exercise.kind {
        Kind::Break => "with one fault in it".to_string(),
        _ => format!("look for TODO(ex-{})", exercise.number),
    };
    let lab = exercise.lab.number;
    Ok(match sources.files.len() {
        0 | 1 => format!("{directory}/server.rs   {}", in_style(QUIET, &format!("lab {lab}'s server, {what}"))),
        count => {
            let more = format!("lab {lab}'s server and what belongs to it, {count} files, {what}");
            format!("{directory}/   {}", in_style(QUIET, &more))
        }
    })
}

/// A row with a command. One that is too long for it stands whole, so that a copy of it runs, and its remark below.
fn command(page: &mut Page, name: &str, command: &str, remark: &str) -> io::Result<()> {
    let quiet = in_style(QUIET, remark);
    if page.has_room_for(&format!("  {name:<10} {command}")) {
        return row(page, name, &if remark.is_empty() { command.into() } else { format!("{command}   {quiet}") });
    }
    page.unbroken(&format!("  {} {command}", in_style(KERNEL, &format!("{name:<10}"))))?;
    if remark.is_empty() { Ok(()) } else { page.line(&format!("{:COLUMN$}{quiet}", ""), COLUMN) }
}

fn row(page: &mut Page, name: &str, text: &str) -> io::Result<()> {
    page.line(&format!("  {} {text}", in_style(KERNEL, &format!("{name:<10}"))), COLUMN)
}

/// What can be typed about an exercise, for who is not in the loop.
pub fn commands(page: &mut Page, exercise: &Exercise) -> io::Result<()> {
    let number = exercise.number;
    match exercise.kind {
        Kind::Experiment => page.line(&format!("Written your answer down, and tried it? make solution{number}"), 2),
        Kind::Predict => page.line(&format!("hint: make hint{number}"), 2),
        Kind::Break | Kind::Build => page.line(
            &format!("check: make ex{number}   hint: make hint{number}   afresh: make reset{number}   each time you save: make learn"),
            2,
        ),
    }
}

/// The line of an exercise in a list.
pub fn line(page: &mut Page, exercise: &Exercise, entry: &Entry) -> io::Result<()> {
    let Exercise { number, kind, minutes, title, .. } = exercise;
    let (style, status) = match entry.status {
        Status::Open => (QUIET, "-"),
        Status::Begun => (OWN, "begun"),
        Status::Done => (SERVER, "done"),
    };
    let status = in_style(style, &format!("{status:<5}"));
    let hints = match entry.hints {
        0 => String::new(),
        1 => in_style(QUIET, "  1 hint"),
        count => in_style(QUIET, &format!("  {count} hints")),
    };
    page.line(&format!("  {number:<4} {status}  {:<10} {minutes:>3} min  {title}{hints}", kind.word()), 32)
}

/// The exercises of a lab, with what has been done of them.
pub fn lab(page: &mut Page, workshop: &Workshop, progress: &Progress, number: u8) -> Result<(), Problem> {
    let exercises: Vec<&Exercise> = workshop.of_lab(number).collect();
    let entries: Vec<Entry> = exercises.iter().map(|exercise| progress.of(exercise.number)).collect();
    let done = entries.iter().filter(|entry| entry.is_done()).count();
    let idea = LABS.iter().find(|lab| lab.number == number).map_or("", |lab| lab.idea);
    page.line(&in_style(STRONG, &format!("lab {number}  {done} of {} done  {idea}", exercises.len())), 7)?;
    for (exercise, entry) in exercises.iter().zip(&entries) {
        line(page, exercise, entry)?;
    }
    Ok(())
}

/// How much has been done of each lab, a line each.
pub fn labs(page: &mut Page, workshop: &Workshop, progress: &Progress) -> io::Result<()> {
    for lab in LABS {
        let all = workshop.of_lab(lab.number).count();
        let done = workshop.of_lab(lab.number).filter(|exercise| progress.of(exercise.number).is_done()).count();
        page.line(&format!("  lab {}  {done} of {all} done", lab.number), 9)?;
    }
    Ok(())
}

/// What has been done of everything, in a sentence.
pub fn total(workshop: &Workshop, progress: &Progress) -> String {
    let of_kind = |kind: Kind| {
        let all = workshop.exercises.iter().filter(|exercise| exercise.kind == kind);
        let done = all.clone().filter(|exercise| progress.of(exercise.number).is_done()).count();
        (kind, done, all.count())
    };
    let kinds = [Kind::Predict, Kind::Break, Kind::Build, Kind::Experiment].map(of_kind);
    let told: Vec<String> = kinds
        .iter()
        .filter(|(_, _, all)| *all > 0)
        .map(|(kind, done, all)| format!("{done} of {all} {}", kind.word()))
        .collect();
    let (done, all) = kinds.iter().fold((0, 0), |(done, all), (_, its_done, its_all)| (done + its_done, all + its_all));
    format!("{done} of {all} exercises done: {}", told.join(", "))
}

/// The explanation, for afterwards.
pub fn explanation(page: &mut Page, workshop: &Workshop, exercise: &Exercise) -> Result<(), Problem> {
    match &exercise.explanation {
        Some(text) => section::print(page, text)?,
        None => section::print(page, &Section::of(&workshop.root, exercise)?.explanation)?,
    }
    Ok(())
}
