//! The learner's files: `work/exN.M/`, one package each, in a cargo workspace of their own.
//!
//! Nothing that is there is ever written over or deleted. A reset moves it to `work/stash/`.

pub mod cargo;
pub mod compile;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;

use crate::record;
use crate::view::paint::harmless;
use crate::workshop::Problem;
use crate::workshop::exercises::sources::Sources;
use crate::workshop::exercises::{Exercise, Number, Workshop};
use crate::workshop::labs::Lab;

/// Names another directory in place of `work/`: for a disk of your own, and for tests.
const VARIABLE: &str = "SOCKLAB_WORK";
/// The programs of a package: what it cannot be built without.
const SERVER: &str = "server.rs";
const MANIFEST: &str = "Cargo.toml";
const STASH: &str = "stash";

/// The directory with the learner's files.
#[derive(Clone, Debug)]
pub struct Work {
    /// The root of the repository.
    pub root: PathBuf,
    /// Where the files are.
    pub directory: PathBuf,
}

/// A package in it: a server made of some lab's files.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its directory, within that of the work: `ex3.2`.
    pub directory: String,
    /// The lab that it was made from.
    pub lab: &'static Lab,
    /// Packages that it needs beside those of its lab.
    pub dependencies: Vec<String>,
}

impl Package {
    /// That of the learner's files for an exercise.
    pub fn of_exercise(exercise: &Exercise) -> Self {
        Self {
            directory: directory_of(exercise.number),
            lab: exercise.lab,
            dependencies: exercise.dependencies.clone(),
        }
    }

    /// What cargo calls it: `ex3-2`.
    pub fn name(&self) -> String {
        self.directory.replace('.', "-")
    }

    /// The name of its binary: `ex3-2-server`.
    pub fn server(&self) -> String {
        format!("{}-server", self.name())
    }
}

fn directory_of(number: Number) -> String {
    format!("ex{number}")
}

impl Work {
    /// The one in the repository at `root`, or the one that SOCKLAB_WORK names.
    pub fn of(root: &Path) -> Result<Self, Problem> {
        let named = env::var_os(VARIABLE).filter(|named| !named.is_empty());
        let directory = match named {
            Some(named) => {
                std::path::absolute(&named).map_err(Problem::while_doing("find the directory in SOCKLAB_WORK"))?
            }
            None => root.join("work"),
        };
        Ok(Self { root: root.into(), directory })
    }

    /// A directory of the repository's own, for what no learner writes.
    pub fn at(root: &Path, directory: PathBuf) -> Self {
        Self { root: root.into(), directory }
    }

    /// A path as it is told to the learner: from the root of the repository where it lies in it.
    pub fn told(&self, path: &Path) -> String {
        harmless(path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().as_bytes())
    }

    /// Where the files of an exercise are, or will be.
    pub fn directory_of(&self, number: Number) -> PathBuf {
        self.directory.join(directory_of(number))
    }

    /// Makes the learner's files if there are none; whether it did.
    pub fn lay_if_needed(&self, workshop: &Workshop, exercise: &Exercise) -> Result<bool, Problem> {
        let directory = self.directory_of(exercise.number);
        // A link that leads nowhere is something, too.
        if directory.symlink_metadata().is_ok() {
            return Ok(false);
        }
        self.lay(&Package::of_exercise(exercise), &workshop.starting_files(exercise)?)?;
        Ok(true)
    }

    /// Writes a package. All of it appears at once, or nothing; and never where something is already.
    pub fn lay(&self, package: &Package, sources: &Sources) -> Result<(), Problem> {
        let target = self.directory.join(&package.directory);
        let beside = self.directory.join(format!(".{}-{}", package.directory, std::process::id()));
        let manifest = cargo::package_manifest(&self.root, package)?;
        let write = || {
            fs::create_dir_all(&beside)?;
            sources.write_to(&beside)?;
            fs::write(beside.join(MANIFEST), manifest)?;
            fs::rename(&beside, &target)
        };
        write().map_err(|error| {
            // Ours alone: its name has this process's number in it.
            let _ = fs::remove_dir_all(&beside);
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOTEMPTY | Errno::EEXIST) => {
                    Problem::Told(format!("{} is there already: it was left as it is", self.told(&target)))
                }
                _ => self.problem(&target, &error),
            }
        })
    }

    /// Moves what is there for an exercise into the stash; where to, if there was something.
    pub fn stash(&self, number: Number) -> Result<Option<PathBuf>, Problem> {
        let directory = self.directory_of(number);
        if directory.symlink_metadata().is_err() {
            return Ok(None);
        }
        let stash = self.directory.join(STASH);
        fs::create_dir_all(&stash).map_err(|error| self.problem(&stash, &error))?;
        let now = record::moment(SystemTime::now()).unwrap_or_default();
        let stamp: String = now.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
        let name = format!("{}-{stamp}", directory_of(number));
        // Twice within a second: the second one gets another name.
        let names = std::iter::once(name.clone()).chain((2..1000).map(|n| format!("{name}-{n}")));
        for target in names.map(|name| stash.join(name)) {
            // rename(2) would replace an empty directory.
            if target.symlink_metadata().is_ok() {
                continue;
            }
            fs::rename(&directory, &target).map_err(|error| self.problem(&directory, &error))?;
            return Ok(Some(target));
        }
        Err(Problem::Told(format!("{} is full of {name}", self.told(&stash))))
    }

    /// The files of an exercise without which nothing can be built, and which are not there.
    ///
    /// They were laid there: somebody has moved, renamed or deleted them.
    pub fn check_files(&self, exercise: &Exercise) -> Result<(), Problem> {
        let directory = self.directory_of(exercise.number);
        let missing: Vec<&str> =
            [SERVER, MANIFEST].into_iter().filter(|file| !directory.join(file).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = |entry: fs::DirEntry| harmless(entry.file_name().to_string_lossy().as_bytes());
        let mut there: Vec<String> = fs::read_dir(&directory).into_iter().flatten().flatten().map(names).collect();
        there.sort();
        let there = if there.is_empty() { "nothing".into() } else { there.join(", ") };
        let number = exercise.number;
        Err(Problem::Told(format!(
            "{} is not there. It was, when the files of {number} were laid.\n  in {}: {there}\n  put it back under that \
             name; or start afresh with make reset{number}, which keeps what is there in {}/",
            missing.iter().map(|file| self.told(&directory.join(file))).collect::<Vec<_>>().join(", and "),
            self.told(&directory),
            self.told(&self.directory.join(STASH)),
        )))
    }

    /// Files that were laid and are not there any more, beside those that [`check_files`](Self::check_files) asks for.
    pub fn missing(&self, sources: &Sources, number: Number) -> Vec<PathBuf> {
        let there = sources.as_they_are_in(&self.directory_of(number));
        there.into_iter().filter(|(_, text)| text.is_none()).map(|(file, _)| file).collect()
    }

    fn problem(&self, path: &Path, error: &io::Error) -> Problem {
        Problem::Told(format!("{}: {}", self.told(path), crate::sys::with_name(error)))
    }
}
