//! What is written beside each thing, in lines that fit its lane.

use std::time::Duration;

use crate::event::{Call, End, Segment, What, Who};
use crate::view::page::model::{Interval, Kind, Part, Thing};
use crate::view::page::text::{Ink, Line, width, wrap};
use crate::view::{describe, notation};

/// More lines than this of a call's arguments are not shown.
const ARGUMENT_LINES: usize = 3;
/// More lines than this of anything else are not shown.
const LINES: usize = 4;

/// The lines for a part of a thing, each of at most `columns`.
pub fn lines(thing: &Thing, part: Part, columns: usize) -> Vec<Line> {
    match &thing.kind {
        Kind::Call(interval) => match part {
            Part::Begin => entry(interval.entered, thing.until.is_none(), columns),
            Part::End => {
                let before = what_the_return_tells(interval);
                result(
                    interval.call,
                    &[(Ink::Name, &interval.call.name), (Ink::Plain, &before)],
                    " after\u{a0}",
                    thing,
                    columns,
                )
            }
            Part::Whole => {
                let after = result(interval.call, &[], " ", thing, columns);
                join(entry(interval.call, false, columns), after, columns)
            }
        },
        Kind::Segment(segment, _) => of_segment(segment, columns),
        Kind::Mark(what, _) => {
            let (verb, rest) = mark(what);
            wrap(&[(Ink::Quiet, &verb), (Ink::Plain, &rest)], columns, LINES)
        }
        Kind::State(_) => Vec::new(),
    }
}

/// The arguments once more, where some of them were not known before: what a read() read.
fn what_the_return_tells(interval: &Interval) -> String {
    let call = interval.call;
    if call.arguments == interval.entered.arguments {
        return " ".into();
    }
    let on = call.on.as_ref().map(|_| "…");
    let arguments: Vec<&str> = on.into_iter().chain(call.arguments.iter().map(String::as_str)).collect();
    format!("({}) ", arguments.join(", "))
}

fn entry(call: &Call, is_open: bool, columns: usize) -> Vec<Line> {
    let text = notation::call(call);
    let (name, arguments) = text.split_at(text.find('(').unwrap_or(text.len()));
    let rest = if is_open { " has\u{a0}not\u{a0}returned" } else { "" };
    wrap(&[(Ink::Name, name), (Ink::Plain, arguments), (Ink::Quiet, rest)], columns, ARGUMENT_LINES)
}

fn result(call: &Call, before: &[(Ink, &str)], after: &str, thing: &Thing, columns: usize) -> Vec<Line> {
    let Some(outcome) = &call.outcome else { return Vec::new() };
    let result = format!("= {}", short_outcome(outcome));
    let took = thing.until.map_or(Duration::ZERO, |until| until.saturating_sub(thing.at));
    let took = format!("{after}{}", describe::span(took).replace(' ', "\u{a0}"));
    let ink = if outcome.error.is_some() { Ink::Error } else { Ink::Result };
    let mut parts = before.to_vec();
    parts.extend([(ink, result.as_str()), (Ink::Quiet, &took)]);
    wrap(&parts, columns, LINES)
}

/// The outcome without the sentence of an error, which is among the details.
fn short_outcome(outcome: &crate::event::Outcome) -> String {
    match &outcome.error {
        Some(error) if !error.starts_with("ERESTART") => format!("-1 {error}"),
        _ => notation::outcome(outcome),
    }
}

/// Puts what comes after on the same line, where it has room there.
fn join(mut lines: Vec<Line>, mut after: Vec<Line>, columns: usize) -> Vec<Line> {
    let has_room = match (lines.last(), &after[..]) {
        (Some(last), [only]) => width(last) + 1 + width(only) <= columns,
        _ => false,
    };
    match lines.last_mut() {
        Some(last) if has_room => {
            last.push((Ink::Plain, " ".into()));
            after.drain(..).for_each(|line| last.extend(line));
        }
        _ => lines.append(&mut after),
    }
    lines
}

fn of_segment(segment: &Segment, columns: usize) -> Vec<Line> {
    let text = notation::segment(segment);
    let (flags, rest) = text.split_once(' ').unwrap_or((&text, ""));
    // The length is not to be parted from its name.
    let rest = format!(" {}", rest.trim_start()).replace("length ", "length\u{a0}");
    let lines = wrap(&[(Ink::Name, flags), (Ink::Plain, &rest)], columns, LINES);
    match rest.split_once(" <") {
        // Better all options below than half of them.
        Some((before, options)) if lines.len() > 1 => {
            let mut lines = wrap(&[(Ink::Name, flags), (Ink::Plain, before)], columns, LINES);
            lines.extend(wrap(&[(Ink::Plain, &format!("<{options}"))], columns, LINES));
            lines
        }
        _ => lines,
    }
}

/// What happened at a moment: how it is introduced, and what it was.
pub fn mark(what: &What) -> (String, String) {
    let (verb, rest) = match what {
        What::Said(line) => ("prints ", String::from_utf8_lossy(line).into_owned()),
        What::Typed(line) => ("is given ", String::from_utf8_lossy(line).into_owned()),
        What::Note(note) | What::Crowd(note) => ("", note.clone()),
        What::Started { command } => ("starts ", command.join(" ")),
        What::Forked { child, is_thread: true } => ("makes the thread ", name_of(child)),
        What::Forked { child, is_thread: false } => ("makes the process ", name_of(child)),
        What::Ended(End::Exited(code)) => ("ends ", format!("with exit code {code}")),
        What::Ended(End::Killed(signal)) => ("is ended by ", describe::signal(*signal)),
        What::Signalled(signal) => ("gets ", describe::signal(*signal)),
        What::Accepted(_) => ("", "accepted".into()),
        What::Queued { socket, .. } => ("", format!("queue {}/{}", socket.receive_queue, socket.send_queue)),
        What::Lying(socket) => ("", describe::queues(socket).unwrap_or_else(|| "queues empty".into())),
        // These are not marks.
        _ => ("", String::new()),
    };
    (verb.into(), rest)
}

/// An owner's name and number.
pub fn name_of(who: &Who) -> String {
    match who {
        Who::Program { role, pid } => format!("{role} {pid}"),
        Who::Kernel => "kernel".into(),
        Who::Wire => "wire".into(),
        Who::Socklab => "socklab".into(),
    }
}
