//! The exercises: what there is, the learner's files, and what a learner can do with them.
//!
//! There is no list in the code. An exercise is the directory `labs/LAB/exercises/N.M` with an `exercise.toml` in it, and a
//! planted fault is a file `labs/LAB/mutants/NAME.toml`. Both are read when they are needed.

pub mod attempt;
pub mod change;
pub mod check;
pub mod commands;
pub mod help;
pub mod learn;
pub mod manifest;
pub mod number;
pub mod predict;
pub mod progress;
pub mod section;
pub mod show;
pub mod sources;
pub mod verify;
pub mod work;

use std::fs;
use std::path::{Path, PathBuf};

use crate::workshop::labs::{LABS, Lab};
use crate::workshop::{Problem, build};

use change::Change;
pub use number::Number;
use progress::Progress;
use sources::Sources;

/// What is to be done in an exercise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Say beforehand what the kernel will show, in a scene.
    Predict,
    /// Find the fault that was planted in a lab's server, and mend it.
    Break,
    /// Write what is missing in a lab's server.
    Build,
    /// By hand, in terminals of one's own: its text is its section in EXERCISES.md.
    Experiment,
}

impl Kind {
    /// The word for it, as it stands in the manifests and in EXERCISES.md.
    pub fn word(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Break => "break",
            Self::Build => "build",
            Self::Experiment => "experiment",
        }
    }

    /// Whether the learner gets files of their own, which are checked.
    pub fn has_files(self) -> bool {
        matches!(self, Self::Break | Self::Build)
    }
}

/// One exercise, as its manifest says.
#[derive(Clone, Debug)]
pub struct Exercise {
    /// The lab that it belongs to.
    pub lab: &'static Lab,
    /// Its number: `3.2` is the second one of lab 3.
    pub number: Number,
    /// What it is called.
    pub title: String,
    /// What is to be done.
    pub kind: Kind,
    /// How many minutes it takes.
    pub minutes: u32,
    /// The one question that it asks.
    pub question: String,
    /// What to look at alongside: a command, and what it shows.
    pub look: Vec<Look>,
    /// What to type in which terminal.
    pub terminals: Vec<Typed>,
    /// Three hints: the first points, the second names, the third shows. None for an experiment.
    pub hints: Vec<String>,
    /// For [`Kind::Predict`]: the scene.
    pub scene: Option<PathBuf>,
    /// For [`Kind::Break`]: the name of the fault.
    pub mutant: Option<String>,
    /// For [`Kind::Break`] and [`Kind::Build`]: the check that has to be passed.
    pub check: Option<String>,
    /// More checks that the solution has to pass: what the exercise asks for besides.
    pub also: Vec<String>,
    /// More arguments for the learner's server, where the check needs them.
    pub args: Vec<String>,
    /// Packages of the workspace that it needs beside those of its lab.
    pub dependencies: Vec<String>,
    /// For [`Kind::Build`]: how the starting files differ from the lab's own.
    pub start: Vec<Change>,
    /// How a solution differs from the lab's own files; where it is empty, the lab itself is one.
    pub solution: Vec<Change>,
    /// For [`Kind::Predict`]: what it has shown, in a few lines. All that is said about it, and that of other kinds, is in
    /// `EXERCISES.md`.
    pub explanation: Option<String>,
    /// Where its manifest lies.
    pub directory: PathBuf,
}

/// A command for looking, and what it shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// The command.
    pub command: String,
    /// What there is to see; may be empty.
    pub shows: String,
}

/// A line of a terminal: `1$ make lab1` is typed in terminal 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typed {
    /// The number of the terminal.
    pub terminal: u8,
    /// The command.
    pub command: String,
    /// What it is for; may be empty.
    pub remark: String,
}

/// A fault that can be planted in a lab's server.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The lab.
    pub lab: &'static Lab,
    /// Its name: that of its file.
    pub name: String,
    /// What is wrong, in one clause.
    pub fault: String,
    /// The check that fails because of it.
    pub caught_by: String,
    /// Why it fails: one of these. (Which one may be up to who is quicker, as with a FIN and a RST.)
    pub reasons: Vec<Reason>,
    /// How it differs from the lab's own files.
    pub changes: Vec<Change>,
    /// Its manifest.
    pub file: PathBuf,
}

/// Why a check fails: a server with one fault could fail the right check for the wrong reason.
#[derive(Clone, Debug)]
pub struct Reason {
    /// The kind of failure, as `socklab check --json` has it.
    pub kind: String,
    /// A part of what it has seen, of why, or of the server's last words.
    pub because: String,
}

/// All exercises, and all faults that can be planted.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The root of the repository.
    pub root: PathBuf,
    /// The exercises, by their numbers.
    pub exercises: Vec<Exercise>,
    /// The faults, by lab and name.
    pub mutants: Vec<Mutant>,
}

impl Workshop {
    /// Reads them all. What is wrong in any manifest is told, with its place.
    pub fn read() -> Result<Self, Problem> {
        Self::read_at(&build::workspace()?)
    }

    /// Reads those of the repository at `root`.
    pub fn read_at(root: &Path) -> Result<Self, Problem> {
        let (mut exercises, mut mutants, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        let mut keep = |read: Result<(), String>| wrong.extend(read.err());
        for lab in LABS {
            let directory = root.join("labs").join(lab.package);
            for entry in entries(&directory.join("exercises")) {
                if entry.join("exercise.toml").is_file() {
                    keep(manifest::read_exercise(lab, root, &entry).map(|exercise| exercises.push(exercise)));
                }
            }
            for entry in entries(&directory.join("mutants")) {
                if entry.extension().is_some_and(|extension| extension == "toml") {
                    keep(manifest::read_mutant(lab, root, &entry).map(|mutant| mutants.push(mutant)));
                }
            }
        }
        exercises.sort_by_key(|exercise| exercise.number);
        if wrong.is_empty() {
            Ok(Self { root: root.into(), exercises, mutants })
        } else {
            Err(Problem::Told(wrong.join("\n")))
        }
    }

    /// The exercise with this number; otherwise an answer that names the ones there are.
    pub fn find(&self, number: Number) -> Result<&Exercise, Problem> {
        self.exercises.iter().find(|exercise| exercise.number == number).ok_or_else(|| {
            let of_lab: Vec<_> = self.of_lab(number.lab).collect();
            Problem::Told(match (of_lab.first(), of_lab.last()) {
                (Some(first), Some(last)) => format!(
                    "there is no exercise {number}; lab {} has {} to {}: make ex{}",
                    number.lab, first.number, last.number, number.lab
                ),
                _ => format!("there is no exercise {number}, and no lab {}; all exercises: make progress", number.lab),
            })
        })
    }

    /// The exercises of a lab, in their order.
    pub fn of_lab(&self, lab: u8) -> impl DoubleEndedIterator<Item = &Exercise> {
        self.exercises.iter().filter(move |exercise| exercise.number.lab == lab)
    }

    /// The next exercise that is not done: behind `after` or, where there is none any more, from the beginning.
    pub fn next_open(&self, progress: &Progress, after: Option<Number>) -> Option<&Exercise> {
        let mut open = self.exercises.iter().filter(|exercise| !progress.of(exercise.number).is_done());
        let first = open.clone().next();
        open.find(|exercise| Some(exercise.number) > after).or(first)
    }

    /// The fault with this name.
    pub fn mutant(&self, lab: &Lab, name: &str) -> Option<&Mutant> {
        self.mutants.iter().find(|mutant| mutant.lab.number == lab.number && mutant.name == name)
    }

    /// The files that an exercise begins with.
    pub fn starting_files(&self, exercise: &Exercise) -> Result<Sources, Problem> {
        let sources = Sources::of_lab(&self.root, exercise.lab)?;
        let Some(name) = &exercise.mutant else { return sources.changed(&exercise.start) };
        match self.mutant(exercise.lab, name) {
            Some(mutant) => sources.changed(&mutant.changes)?.changed(&exercise.start),
            None => Err(Problem::Told(format!(
                "{}: there is no fault {name}: labs/{}/mutants/{name}.toml",
                exercise.manifest().display(),
                exercise.lab.package
            ))),
        }
    }

    /// The files of a solution.
    pub fn solution(&self, exercise: &Exercise) -> Result<Sources, Problem> {
        Sources::of_lab(&self.root, exercise.lab)?.changed(&exercise.solution)
    }

    /// The files of a lab's server with a fault in it.
    pub fn faulty_files(&self, mutant: &Mutant) -> Result<Sources, Problem> {
        Sources::of_lab(&self.root, mutant.lab)?.changed(&mutant.changes)
    }
}

impl Exercise {
    /// Its manifest.
    pub fn manifest(&self) -> PathBuf {
        self.directory.join("exercise.toml")
    }

    /// The checks that the learner's server has to pass, the one that it fails at first before the others.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        self.check.iter().chain(&self.also).map(String::as_str)
    }

    /// The heading of its section in EXERCISES.md.
    pub fn heading(&self) -> String {
        format!("{} {}", self.number, self.title)
    }

    /// Where its section is: a link as GitHub makes it from the heading.
    pub fn anchor(&self) -> String {
        let kept = |c: char| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ if c.is_alphanumeric() => Some(c),
            _ => None,
        };
        self.heading().to_lowercase().chars().filter_map(kept).collect()
    }
}

/// What is in a directory, in the order of the names; nothing where there is none.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
