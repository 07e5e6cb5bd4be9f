//! Judging one thing: a server by the checks of its lab, a scene by playing it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::workshop::exercises::verify::items::{Item, Subject};
use crate::workshop::exercises::verify::recordings::Seen;
use crate::workshop::exercises::{Reason, check};

/// What has to come out.
pub enum Expected {
    /// Every check is passed.
    Passes,
    /// This check fails, for one of these reasons where any are given, and no other does.
    FailsBy(String, Vec<Reason>),
    /// The scene is played to its end.
    Played,
}

/// What `socklab check --json` says, as far as it is needed here.
#[derive(Deserialize)]
pub struct Report {
    checks: Vec<CheckReport>,
}

#[derive(Deserialize)]
struct CheckReport {
    name: String,
    outcome: String,
    kind: Option<String>,
    seen: Option<String>,
    /// Why it has failed, or could not be judged.
    why: Option<String>,
    #[serde(default)]
    last_words: Vec<String>,
}

impl CheckReport {
    /// Whether it failed for this reason.
    fn is_because(&self, reason: &Reason) -> bool {
        let mut told = self.seen.iter().chain(&self.why).chain(&self.last_words);
        self.kind.as_ref() == Some(&reason.kind) && told.any(|text| text.contains(&reason.because))
    }

    /// The reason that it gives, in a line.
    fn reason(&self) -> String {
        let told = [&self.kind, &self.seen, &self.why].map(|text| text.as_deref().unwrap_or("-"));
        told.join(" | ")
    }
}

/// What has come out of one item: what was right, or what was wrong.
pub fn judge(root: &Path, item: &Item) -> Result<String, String> {
    match &item.subject {
        Subject::Scene(scene) => {
            let held = Seen::of(root, scene).and_then(|seen| seen.against_the_recording());
            held.map_err(|problem| problem.to_string())?;
            Ok("plays, with the truth on each menu, as its recording says".into())
        }
        Subject::Server { lab, program, arguments, checks } => {
            let mut options = vec!["--json", "-"];
            options.extend(checks.iter().flat_map(|check| ["--only", check]));
            let mut command = check::check(lab, &options, program, arguments).map_err(|problem| problem.to_string())?;
            let (code, output, errors) = run(&mut command)?;
            let report: Report = serde_json::from_str(&output)
                .map_err(|_| format!("exit code {code:?}, and no report: {}", last_line(&errors, &output)))?;
            report.against(&item.expected)
        }
    }
}

impl Report {
    /// Holds it against what was expected.
    fn against(&self, expected: &Expected) -> Result<String, String> {
        let with = |outcomes: &[&str]| {
            let found = self.checks.iter().filter(|check| outcomes.contains(&check.outcome.as_str()));
            found.map(|check| check.name.as_str()).collect::<Vec<_>>()
        };
        let (passed, skipped) = (with(&["passed"]), with(&["skipped"]));
        let unjudged = self.checks.iter().find(|check| ["not-judged", "environment"].contains(&check.outcome.as_str()));
        if let Some(check) = unjudged {
            let why = check.why.as_deref().unwrap_or("no reason was given");
            return Err(format!("{} could not be judged: {why}", check.name));
        }
        let failed: Vec<&str> = self
            .checks
            .iter()
            .map(|check| check.name.as_str())
            .filter(|name| !passed.contains(name) && !skipped.contains(name))
            .collect();
        match expected {
            Expected::Passes if passed.is_empty() => Err("nothing was checked".into()),
            Expected::Passes if failed.is_empty() => Ok(format!("passes {}", in_words(&passed))),
            Expected::FailsBy(check, reasons) if failed == [check] => {
                let report = self.checks.iter().find(|report| report.name == *check);
                let otherwise = |report: &&CheckReport| !reasons.iter().any(|reason| report.is_because(reason));
                match report.filter(otherwise).filter(|_| !reasons.is_empty()) {
                    Some(report) => Err(format!("fails by {check}, but for another reason: {}", report.reason())),
                    None => Ok(format!("fails by {check}, and passes {}", passed.len())),
                }
            }
            Expected::FailsBy(check, _) if failed.is_empty() => Err(format!("passes, and should fail by {check}")),
            Expected::FailsBy(check, _) => {
                Err(format!("fails by {}, and should fail by {check} alone", failed.join(", ")))
            }
            Expected::Passes | Expected::Played => Err(format!("fails by {}", failed.join(", "))),
        }
    }
}

fn in_words(names: &[&str]) -> String {
    match names {
        [one] => (*one).to_string(),
        several => format!("{} checks", several.len()),
    }
}

/// Runs it to its end: exit code, standard output, standard error.
pub fn run(command: &mut Command) -> Result<(Option<i32>, String, String), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// The last that it said, if anything.
pub fn last_line<'a>(errors: &'a str, output: &'a str) -> &'a str {
    let last = |text: &'a str| text.lines().rfind(|line| !line.trim().is_empty());
    last(errors).or_else(|| last(output)).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(outcomes: &[(&str, &str)], expected: &Expected) -> Result<String, String> {
        let check = |(name, outcome): &(&str, &str)| CheckReport {
            name: (*name).into(),
            outcome: (*outcome).into(),
            kind: Some("wrong-state".into()),
            seen: Some("none was seen".into()),
            why: Some("it leaks".into()),
            last_words: Vec::new(),
        };
        Report { checks: outcomes.iter().map(check).collect() }.against(expected)
    }

    #[test]
    fn a_solution_passes_all() {
        assert!(judged(&[("a", "passed"), ("b", "passed")], &Expected::Passes).is_ok());
        for outcome in ["failed", "crashed", "never-listened", "not-judged", "whatever"] {
            assert!(judged(&[("a", "passed"), ("b", outcome)], &Expected::Passes).is_err(), "{outcome}");
        }
        assert!(judged(&[], &Expected::Passes).is_err());
        assert!(judged(&[("a", "skipped")], &Expected::Passes).is_err());
    }

    #[test]
    fn a_fault_is_caught_by_its_check_and_by_no_other() {
        let expected = Expected::FailsBy("b".into(), Vec::new());
        assert!(judged(&[("a", "passed"), ("b", "failed"), ("c", "skipped")], &expected).is_ok());
        assert!(judged(&[("a", "failed"), ("b", "failed")], &expected).is_err());
        assert!(judged(&[("a", "failed"), ("b", "passed")], &expected).is_err());
        assert!(judged(&[("a", "passed"), ("b", "passed")], &expected).unwrap_err().contains("should fail by b"));
        assert!(
            judged(&[("b", "failed"), ("c", "not-judged")], &expected).unwrap_err().contains("could not be judged")
        );
    }

    #[test]
    fn a_fault_is_caught_for_its_own_reason_and_for_no_other() {
        let judged = |kind: &str, because: &str| {
            let reason = Reason { kind: kind.into(), because: because.into() };
            judged(&[("a", "passed"), ("b", "failed")], &Expected::FailsBy("b".into(), vec![reason]))
        };
        assert!(judged("wrong-state", "it leaks").is_ok() && judged("wrong-state", "none was seen").is_ok());
        assert!(judged("crashed", "it leaks").unwrap_err().contains("another reason"));
        assert!(judged("wrong-state", "it spins").is_err());
    }
}
