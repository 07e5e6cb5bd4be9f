//! Does what a transcript shows, in real terminals.

use std::collections::BTreeMap;
use std::time::Duration;

use super::commands::{as_played, builds};
use super::{Action, Sequence, Step};
use crate::terminal::{Ctrl, Terminal, TerminalOptions, indented};

/// Expected text that speaks of a failure holds one of these, in any case; the last are parts of errno names.
const FAILURES: [&str; 13] = [
    "error",
    "fail",
    "killed",
    "terminated",
    "refused",
    "eacces",
    "eaddr",
    "eafno",
    "econn",
    "emfile",
    "enoent",
    "epipe",
    "etimedout",
];

/// How long a key has to end a command before the next step is taken all the same.
const SETTLE: Duration = Duration::from_secs(2);

/// How the terminals of a transcript are to be, and how long to wait in them.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Each of its terminals.
    pub terminal: TerminalOptions,
    /// How long expected text, or the end of a command, may take.
    pub patience: Duration,
    /// The same for a command that may compile something first: one with `make` or `cargo`.
    pub patience_with_builds: Duration,
}

impl Stage {
    /// Terminals that start as `terminal` says, and the usual patience.
    pub fn new(terminal: TerminalOptions) -> Self {
        Self { terminal, patience: Duration::from_secs(20), patience_with_builds: Duration::from_secs(120) }
    }
}

/// Types and expects what `sequence` holds, then ends everything that it started.
///
/// # Errors
///
/// `file:line:`, what went wrong there, and what was seen in each terminal; or what could not be ended.
pub fn play(sequence: &Sequence, stage: &Stage) -> Result<(), String> {
    let mut terminals = BTreeMap::new();
    let played = play_steps(sequence, stage, &mut terminals);
    let played = played.map_err(|error| error + &others(&terminals));

    let mut remains = String::new();
    for (number, active) in terminals {
        if let Err(error) = active.terminal.end() {
            remains.push_str(&format!("{}:{}: terminal {number}: {error}\n", sequence.file, sequence.line));
        }
    }
    match (played, remains.is_empty()) {
        (played, true) => played,
        (Ok(()), false) => Err(remains),
        (Err(error), false) => Err(error + &remains),
    }
}

/// A terminal and the command that was typed there last.
struct Active {
    terminal: Terminal,
    command: String,
    line: usize,
    patience: Duration,
    /// What has happened to the command since.
    last: Last,
    /// Expected text spoke of a failure: the command may end with one.
    failure_shown: bool,
    /// It was told to stop, so that its status says nothing.
    stopped: bool,
}

#[derive(PartialEq)]
enum Last {
    Started,
    Matched,
    Typed,
    Pressed,
}

fn play_steps(sequence: &Sequence, stage: &Stage, terminals: &mut BTreeMap<u8, Active>) -> Result<(), String> {
    for step in &sequence.steps {
        let done = play_step(step, stage, terminals);
        done.map_err(|error| format!("{}:{}: terminal {}: {error}", sequence.file, step.line, step.terminal))?;
    }
    // A command whose last step is itself, or a key, is one that ends. (Others may run for ever.)
    for (number, active) in terminals {
        if matches!(active.last, Last::Started | Last::Pressed) {
            let ended = active.end_well(false);
            ended.map_err(|error| format!("{}:{}: terminal {number}: {error}", sequence.file, active.line))?;
        }
    }
    Ok(())
}

fn play_step(step: &Step, stage: &Stage, terminals: &mut BTreeMap<u8, Active>) -> Result<(), String> {
    if let Action::Command(command) = &step.action {
        let terminal = match terminals.remove(&step.terminal) {
            Some(mut before) => {
                let ended = before.end_well(command.contains("$?"));
                let terminal = before.terminal;
                if let Err(error) = ended {
                    let at = format!("{} (line {}): {error}", before.command, before.line);
                    return Err(at + &ended_too(terminal));
                }
                terminal
            }
            None => Terminal::new(&stage.terminal)?,
        };
        let mut active = Active::new(terminal, command, step.line, stage);
        let typed = active.terminal.run(as_played(command), active.patience);
        terminals.insert(step.terminal, active);
        return typed;
    }
    let active = terminals.get_mut(&step.terminal).ok_or("nothing has been started here")?;
    match &step.action {
        Action::Command(_) => Ok(()),
        Action::Expect(text) => active.expect(text),
        Action::Type(text) => active.type_line(text),
        Action::Press(key) => active.press(*key),
    }
}

impl Active {
    fn new(terminal: Terminal, command: &str, line: usize, stage: &Stage) -> Self {
        Self {
            terminal,
            command: command.into(),
            line,
            patience: if builds(command) { stage.patience_with_builds } else { stage.patience },
            last: Last::Started,
            failure_shown: false,
            stopped: false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        // `N|` alone shows an empty line.
        if text.is_empty() {
            return Ok(());
        }
        self.terminal.expect(text, self.patience)?;
        self.last = Last::Matched;
        let text = text.to_lowercase();
        self.failure_shown |= FAILURES.iter().any(|word| text.contains(word));
        Ok(())
    }

    fn type_line(&mut self, text: &str) -> Result<(), String> {
        self.runs_still()?;
        self.last = Last::Typed;
        self.terminal.type_line(text)
    }

    fn press(&mut self, key: Ctrl) -> Result<(), String> {
        self.runs_still()?;
        self.last = Last::Pressed;
        self.stopped |= key != Ctrl::D;
        self.terminal.key(key)?;
        // A person sees that it has ended before typing elsewhere. What does not end at once is no fault, here.
        let _ = self.terminal.await_end(SETTLE);
        Ok(())
    }

    /// Otherwise the shell would take what is typed for a command.
    fn runs_still(&self) -> Result<(), String> {
        match self.terminal.status() {
            None => Ok(()),
            Some(status) => Err(format!(
                "`{}` does not run any more, it ended with status {status}\nseen:\n{}",
                self.command,
                indented(&self.terminal.seen())
            )),
        }
    }

    /// Waits for the command's end, which must be a success unless the document shows that it is not.
    fn end_well(&mut self, status_is_asked: bool) -> Result<(), String> {
        let status = self.terminal.await_end(self.patience)?;
        if status == 0 || self.stopped || self.failure_shown || status_is_asked {
            return Ok(());
        }
        Err(format!(
            "`{}` ended with status {status}, and no expected text speaks of an error or a failure\nseen:\n{}",
            self.command,
            indented(&self.terminal.seen())
        ))
    }
}

fn ended_too(terminal: Terminal) -> String {
    terminal.end().err().map(|error| format!("\n{error}")).unwrap_or_default()
}

/// What every terminal showed: the reason is often in another one.
fn others(terminals: &BTreeMap<u8, Active>) -> String {
    let mut text = String::new();
    for (number, active) in terminals {
        let state = match active.terminal.status() {
            Some(status) => format!("ended with status {status}"),
            None => "still running".into(),
        };
        text.push_str(&format!("\n  terminal {number}, `{}` ({state}):\n", active.command));
        text.push_str(&indented(&active.terminal.seen()));
    }
    text
}
