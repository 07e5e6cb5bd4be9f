//! A program that does nothing but call, by itself and while it is watched.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::cores::Cores;

/// Round trips in one run.
const TRIPS: &str = "5000";

/// What goes in front of the program.
pub struct Watcher<'a> {
    /// Its name in the report.
    pub name: &'static str,
    /// Its words.
    pub words: Vec<&'a str>,
}

impl Watcher<'_> {
    /// The µs that a round trip takes under this watcher, all of it on one core.
    pub fn microseconds(&self, program: &Path, cores: Cores) -> Result<f64, Failure> {
        let (path, figure) = (program.to_string_lossy(), program.with_extension("figure"));
        let file = figure.to_string_lossy();
        let words: Vec<&str> = self.words.iter().copied().chain([path.as_ref(), TRIPS, file.as_ref()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = cores.start_program(|| command.spawn())??;
        let status = process.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("{}: {status}", self.name)).into());
        }
        Ok(fs::read_to_string(&figure)?.trim().parse()?)
    }
}
