//! What has come out: for a person, and as JSON for a program.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::json;

use super::case::Failure;
use super::list::Check;
use super::{Stage, case};
use crate::view::paint::{OWN, Page, QUIET, SERVER, STRONG, harmless, in_style};
use crate::workshop::exercises::Workshop;
use crate::workshop::labs::Lab;
use crate::workshop::trace::shell_word;

/// For what has failed.
const FAILED: Style = AnsiColor::Red.on_default().bold();
/// Where a title begins.
const TITLE: usize = 20;

/// The kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Other bytes came than were promised.
    WrongBytes,
    /// The kernel shows another state: of a socket, a process, a descriptor.
    WrongState,
    /// Nothing came in time.
    TimedOut,
    /// The server has ended though nobody asked it to.
    Crashed,
    /// It never listened where it should.
    NeverListened,
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongBytes => "wrong bytes",
            Self::WrongState => "wrong kernel state",
            Self::TimedOut => "timed out",
            Self::Crashed => "crashed",
            Self::NeverListened => "never listened",
        }
    }
}

/// How a check went.
pub enum Outcome {
    /// The server does what is promised.
    Passed,
    /// It does not.
    Failed(Box<Failure>),
    /// That could not be judged, for this reason.
    NotJudged(String),
    /// It was not tried, because it depends on this check, which was not passed.
    Skipped(&'static str),
}

/// A check, and how it went.
pub struct Judged {
    /// The check.
    pub check: &'static Check,
    /// How it went.
    pub outcome: Outcome,
    /// The steps that were passed.
    pub steps: Vec<String>,
    /// The port, where it came to that.
    pub port: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// The signal that ended it before its time.
    pub(super) interrupted: Option<Signal>,
}

impl Judged {
    pub(super) fn not_run(check: &'static Check, outcome: Outcome) -> Self {
        Self { check, outcome, steps: Vec::new(), port: None, took: Duration::ZERO, interrupted: None }
    }
}

/// What follows from all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every check was passed.
    Passed,
    /// At least one was not.
    Failed,
    /// None has failed, and at least one could not be judged.
    NotJudged,
}

/// All results, and what was judged.
pub struct Report {
    /// The lab.
    pub lab: &'static Lab,
    /// The server's command line.
    pub command: String,
    /// Where it was judged.
    pub place: String,
    /// The results, in the order of the list.
    pub results: Vec<Judged>,
    /// How long it took.
    pub took: Duration,
    /// The signal that ended it before its time.
    pub interrupted: Option<Signal>,
    pub(super) begun: Instant,
    is_own: bool,
    can_follow: bool,
}

impl Report {
    pub(super) fn new(stage: &Stage) -> Self {
        let mut words: Vec<String> = stage.command.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
        // Where cargo has put it is of no interest.
        if let Some(first) = words.first_mut().filter(|_| stage.is_own) {
            *first = stage.lab.server();
        }
        Self {
            lab: stage.lab,
            command: harmless(words.join(" ").as_bytes()),
            place: harmless(stage.place.to_string().as_bytes()),
            results: Vec::new(),
            took: Duration::ZERO,
            interrupted: None,
            begun: Instant::now(),
            is_own: stage.is_own,
            can_follow: stage.place.follow.is_ok(),
        }
    }

    /// Why a check is not to be run: it needs one that was not passed.
    pub(super) fn what_keeps_from(&self, check: &Check) -> Option<Outcome> {
        let was_not_passed = |need: &&&'static str| {
            self.results.iter().any(|result| result.check.name == **need && !matches!(result.outcome, Outcome::Passed))
        };
        check.needs.iter().find(was_not_passed).map(|need| Outcome::Skipped(need))
    }

    /// What follows from all of it.
    pub fn verdict(&self) -> Verdict {
        let has = |is: fn(&Outcome) -> bool| self.results.iter().any(|result| is(&result.outcome));
        if has(|outcome| matches!(outcome, Outcome::Failed(_))) {
            Verdict::Failed
        } else if has(|outcome| !matches!(outcome, Outcome::Passed)) || self.interrupted.is_some() {
            Verdict::NotJudged
        } else {
            Verdict::Passed
        }
    }

    /// 0 passed, 1 failed, 2 could not be judged; 128 and the signal where one came.
    pub fn exit_code(&self) -> ExitCode {
        match (self.interrupted, self.verdict()) {
            (Some(signal), _) => ExitCode::from(128 + signal as u8),
            (None, Verdict::Passed) => ExitCode::SUCCESS,
            (None, Verdict::Failed) => ExitCode::from(1),
            (None, Verdict::NotJudged) => ExitCode::from(2),
        }
    }

    /// Prints all of it.
    pub fn print(&self, page: &mut Page) -> io::Result<()> {
        self.print_head(page)?;
        self.results.iter().try_for_each(|result| self.print_result(page, result))?;
        self.print_summary(page)
    }

    /// Prints what is judged, and where.
    pub fn print_head(&self, page: &mut Page) -> io::Result<()> {
        page.line(&in_style(STRONG, &format!("check {}: {}", self.lab.number, self.command)), 9)?;
        page.line(&in_style(QUIET, &self.place), 2)?;
        page.gap()?;
        page.flush()
    }

    /// Prints one result.
    pub fn print_result(&self, page: &mut Page, result: &Judged) -> io::Result<()> {
        let check = result.check;
        let title = |style: Style, word: &str| format!("{} {:<14} {}", in_style(style, word), check.name, check.title);
        match &result.outcome {
            Outcome::Passed => page.line(&title(SERVER, "pass"), TITLE)?,
            Outcome::Skipped(need) => {
                page.line(&format!("{} {:<14} needs {need}", in_style(QUIET, "skip"), check.name), TITLE)?;
            }
            Outcome::NotJudged(why) => {
                page.line(&title(OWN, "????"), TITLE)?;
                page.line(&format!("  could not be judged: {why}"), 4)?;
            }
            Outcome::Failed(failure) => {
                page.line(&title(FAILED, "FAIL"), TITLE)?;
                for (text, indent) in self.explanation(result, failure) {
                    page.line(&text, indent)?;
                }
                page.gap()?;
            }
        }
        page.flush()
    }

    /// The lines under a failure, each with how far in it goes on below.
    fn explanation(&self, result: &Judged, failure: &Failure) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        let passed = result.steps.iter().enumerate().map(|(index, step)| format!("{} {step} ok", index + 1));
        let passed: Vec<String> = passed.collect();
        if !passed.is_empty() {
            lines.push((format!("  {}", passed.join("   ")), 4));
        }
        lines.push((format!("  x expected {}; {}", failure.expected, failure.seen), 4));
        lines.push((in_style(QUIET, &format!("    ({})", failure.kind.name())), 4));
        let mut list = |name: &str, entries: &[String]| {
            if !entries.is_empty() {
                lines.push((format!("  {name}:"), 4));
                lines.extend(entries.iter().map(|entry| (format!("    {entry}"), 6)));
            }
        };
        list("its last words", &failure.last_words);
        match &failure.calls {
            Some(calls) => list("last calls", calls),
            None if !self.can_follow => list("last calls", &["they cannot be followed here".into()]),
            None => {}
        }
        list("sockets", &failure.sockets);
        if let Some(why) = &failure.why {
            lines.push((format!("  why: {why}"), 7));
        }
        lines.push((format!("  see: {}", self.see(result)), 7));
        if let Some(hint) = hint(self.lab, result.check.name) {
            lines.push((format!("  hint: {hint}"), 8));
        }
        lines
    }

    /// What to type to see it with one's own eyes.
    pub(super) fn see(&self, result: &Judged) -> String {
        let number = self.lab.number;
        let port = result.port.unwrap_or(self.lab.port);
        let at_port = if port == self.lab.port { String::new() } else { format!(" --port {port}") };
        let start = match self.is_own {
            true if at_port.is_empty() => format!("make lab{number}"),
            true => format!("socklab run {number}{at_port}"),
            false => format!("socklab run {number}{at_port} -- {}", self.command),
        };
        format!("{start}   and beside it: {}", result.check.look.replace("{port}", &port.to_string()))
    }

    /// Prints how many were passed, and what follows.
    pub fn print_summary(&self, page: &mut Page) -> io::Result<()> {
        page.gap()?;
        page.line(&in_style(STRONG, &self.summary()), 2)?;
        page.flush()
    }

    /// `lab 3: 9 passed, 1 failed (lets-go), 1 skipped, in 2.1 s`.
    pub fn summary(&self) -> String {
        let names = |kind: &str| -> Vec<&str> {
            self.results.iter().filter(|result| result.outcome.name() == kind).map(|result| result.check.name).collect()
        };
        let mut parts = vec![format!("{} passed", names("passed").len())];
        for kind in ["failed", "skipped", "not-judged"] {
            let names = names(kind);
            if !names.is_empty() {
                parts.push(format!("{} {} ({})", names.len(), kind.replace('-', " "), names.join(", ")));
            }
        }
        let mut text = format!("lab {}: {}, in {:.1} s", self.lab.number, parts.join(", "), self.took.as_secs_f64());
        if let Some(signal) = self.interrupted {
            text.push_str(&format!("; then {signal} came"));
        }
        text
    }

    /// One object, with a line's end behind it.
    pub fn to_json(&self) -> String {
        let checks: Vec<serde_json::Value> = self.results.iter().map(|result| self.json_of(result)).collect();
        let verdict = match self.verdict() {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::NotJudged => "not-judged",
        };
        let report = json!({
            "lab": self.lab.number,
            "command": self.command,
            "rung": self.place,
            "verdict": verdict,
            "seconds": self.took.as_secs_f64(),
            "checks": checks,
        });
        format!("{report}\n")
    }

    fn json_of(&self, result: &Judged) -> serde_json::Value {
        let mut value = json!({
            "name": result.check.name,
            "title": result.check.title,
            "outcome": result.outcome.name(),
            "steps": result.steps,
            "seconds": result.took.as_secs_f64(),
        });
        let Some(object) = value.as_object_mut() else { return value };
        match &result.outcome {
            Outcome::Passed => {}
            Outcome::Skipped(need) => drop(object.insert("needs".into(), json!(need))),
            Outcome::NotJudged(why) => {
                object.insert("kind".into(), json!("environment"));
                object.insert("why".into(), json!(why));
            }
            Outcome::Failed(failure) => {
                let case::Failure { kind, expected, seen, why, calls, sockets, last_words } = &**failure;
                object.extend([
                    ("kind".to_string(), json!(kind)),
                    ("expected".into(), json!(expected)),
                    ("seen".into(), json!(seen)),
                    ("why".into(), json!(why)),
                    ("calls".into(), json!(calls)),
                    ("sockets".into(), json!(sockets)),
                    ("last_words".into(), json!(last_words)),
                    ("see".into(), json!(self.see(result))),
                    ("hint".into(), json!(hint(self.lab, result.check.name))),
                ]);
            }
        }
        value
    }
}

impl Outcome {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::NotJudged(_) => "not-judged",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// The command that gives a hint: for the first exercise of the lab that has this check.
pub(super) fn hint(lab: &Lab, check: &str) -> Option<String> {
    let workshop = Workshop::read().ok()?;
    let exercise = workshop.of_lab(lab.number).find(|exercise| exercise.check.as_deref() == Some(check))?;
    Some(format!("make hint{}", exercise.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::labs::LABS;

    #[test]
    fn a_hint_is_that_of_the_first_exercise_with_the_check_and_none_where_no_exercise_has_it() {
        for lab in LABS {
            let workshop = Workshop::read().unwrap();
            let with_checks = workshop.of_lab(lab.number).filter_map(|exercise| exercise.check.as_deref());
            for check in with_checks {
                let numbers = workshop.of_lab(lab.number).filter(|exercise| exercise.check.as_deref() == Some(check));
                let first = numbers.map(|exercise| exercise.number).min().unwrap();
                assert_eq!(hint(lab, check), Some(format!("make hint{first}")));
            }
            assert_eq!(hint(lab, "no-such-check"), None);
        }
    }
}
