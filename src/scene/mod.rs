//! Scenes: experiments as short texts. A scene says which programs run, how far each of them runs, what is typed, and what the
//! kernel is asked then.
//!
//! This is the language alone: a text becomes a [`Scene`], or a [`Mistake`] that says where. Who plays it stands in
//! `workshop::scene`.

mod fact;
mod line;
mod mistake;
mod parse;
mod words;

pub use fact::{Alternative, Asked, Quantity, Sent, Value};
pub use mistake::Mistake;
pub use parse::{names_of_roles, parse};
pub use words::common_name;

use std::time::Duration;

use crate::lens::calls::Mark;

/// How long a step may take, and how long an expectation is waited for, unless the scene says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A scene.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scene {
    /// What it is about.
    pub title: String,
    /// Its programs, in the order in which they stand there.
    pub programs: Vec<Program>,
    /// What happens, line by line.
    pub steps: Vec<Step>,
}

/// A program of a scene.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Its role, one word.
    pub role: String,
    /// Its command line, `{port}` standing for the port.
    pub command: String,
}

/// A line of a scene.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number in the file, from 1.
    pub line: usize,
    /// What stands there, for who wants to see it.
    pub text: String,
    /// What it means.
    pub action: Action,
}

/// What a line of a scene does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `server until accept returns`: it runs to there, and is held.
    Until(String, Mark),
    /// `client until ends`: it runs until it has ended.
    UntilEnd(String),
    /// `server freely`: it runs, and everybody whom it has made.
    Freely(String),
    /// `type client hello`: it gets this on its standard input.
    Type(String, Vec<u8>),
    /// `close stdin client`: its standard input ends.
    CloseInput(String),
    /// `signal server SIGTERM`, `kill server`: the process gets a signal, by its number.
    Signal(String, i32),
    /// `limit 10`: how long each of the next lines may take.
    Limit(Duration),
    /// `print states`.
    Print(Shown),
    /// `expect client ESTABLISHED`: it has to be so, now or within the limit.
    Expect(Asked, Value),
    /// `wait client ESTABLISHED`: the same, and nothing is said about it.
    Wait(Asked, Value),
    /// `predict client ESTABLISHED | SYN-SENT`: the question is asked here, and answered by the next `reveal`.
    Predict(Prediction),
    /// `reveal`: the kernel is asked what was predicted.
    Reveal,
    /// `note`: a remark.
    Note(String),
}

/// What can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The sockets of all programs, their states and queues.
    States,
    /// The calls since the last time.
    Calls,
    /// The segments since the last time.
    Segments,
    /// Each connection as a ladder, from the beginning.
    Ladder,
    /// The processes, each with its descriptors.
    Processes,
}

/// A question, and what may be answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prediction {
    /// The question in words, from `ask`; without one it is made from the quantity.
    pub question: Option<String>,
    /// What the kernel will be asked.
    pub asked: Asked,
    /// The answers to choose from; none where a number is to be typed.
    pub menu: Vec<Alternative>,
    /// What is said to whoever chose a wrong answer, by that answer: from `wrong`.
    pub misconceptions: Vec<(Value, String)>,
}
