//! The commands that a document shows, read from its text and played.
//!
//! A fenced block with the info string `console` is a transcript of what a reader types and sees:
//!
//! ```text
//! 1$ make lab1                        a command, typed in terminal 1
//! 1| listening on 127.0.0.1:7001      text that then appears there
//! 2$ make client1
//! 2> hello                            a line, typed into what runs in terminal 2
//! 2| hello
//! 2^D                                 a key: ^C ^D ^Z ^\
//! ```
//!
//! A block with the info string `console continued` goes on in the terminals of the block before; together they are
//! one [`Sequence`]. CONTRIBUTING and the tests in this module say the rest.

mod commands;
mod markdown;
mod play;

pub use commands::{first_words, requirements};
pub use markdown::{Block, blocks, code_spans};
pub use play::{Stage, play};

use crate::terminal::Ctrl;

/// One or more `console` blocks that are played with the same terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The document, as it was given to [`parse`].
    pub file: String,
    /// The line where the first block begins.
    pub line: usize,
    /// What is typed and seen, in order.
    pub steps: Vec<Step>,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its line in the document, from 1.
    pub line: usize,
    /// The terminal, 1 to 9.
    pub terminal: u8,
    /// What happens there.
    pub action: Action,
}

/// What happens in a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `N$ command`
    Command(String),
    /// `N> text`
    Type(String),
    /// `N^C`
    Press(Ctrl),
    /// `N| text`
    Expect(String),
}

/// The sequences of a document, which is called `file` in messages.
///
/// # Errors
///
/// `file:line:` and what is wrong there.
pub fn parse(file: &str, text: &str) -> Result<Vec<Sequence>, String> {
    let mut sequences: Vec<Sequence> = Vec::new();
    for block in blocks(file, text)? {
        let at = |line: usize, what: String| format!("{file}:{line}: {what}");
        match block.info.as_str() {
            "console" => sequences.push(Sequence { file: file.into(), line: block.line, steps: Vec::new() }),
            "console continued" if sequences.is_empty() => {
                return Err(at(block.line, "there is no block before that this one could continue".into()));
            }
            "console continued" => {}
            _ => continue,
        }
        let Some(sequence) = sequences.last_mut() else { continue };
        for (number, line) in (block.line + 1..).zip(&block.lines) {
            if line.trim().is_empty() {
                continue;
            }
            let (terminal, action) = step_in(line).map_err(|what| at(number, what))?;
            let has_command = sequence.steps.iter().any(|step| step.terminal == terminal);
            if !has_command && !matches!(action, Action::Command(_)) {
                return Err(at(number, format!("nothing has been started in terminal {terminal}")));
            }
            sequence.steps.push(Step { line: number, terminal, action });
        }
    }
    match sequences.iter().find(|sequence| sequence.steps.is_empty()) {
        Some(empty) => Err(format!("{file}:{}: an empty transcript", empty.line)),
        None => Ok(sequences),
    }
}

fn step_in(line: &str) -> Result<(u8, Action), String> {
    const FORMS: &str = "not a step of a transcript (N$ command, N> text, N| text, N^C):";
    let line = line.trim_end();
    let wrong = || format!("{FORMS} {line}");
    let mut characters = line.chars();
    let number = characters.next().and_then(|digit| digit.to_digit(10)).filter(|&number| number > 0);
    let terminal = u8::try_from(number.ok_or_else(wrong)?).map_err(|_| wrong())?;
    let kind = characters.next().ok_or_else(wrong)?;
    let rest = characters.as_str();
    if kind == '^' {
        return key_in(rest).map(|key| (terminal, Action::Press(key))).ok_or_else(wrong);
    }
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(' ').ok_or_else(wrong)? };
    let action = match kind {
        '$' if !rest.trim().is_empty() => Action::Command(rest.trim().into()),
        '>' => Action::Type(rest.into()),
        '|' => Action::Expect(rest.trim().into()),
        _ => return Err(wrong()),
    };
    Ok((terminal, action))
}

fn key_in(name: &str) -> Option<Ctrl> {
    match name {
        "C" => Some(Ctrl::C),
        "D" => Some(Ctrl::D),
        "Z" => Some(Ctrl::Z),
        "\\" => Some(Ctrl::Backslash),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
