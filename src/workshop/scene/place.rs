//! What a scene's programs find around them: a directory for their files, and Python where they ask for it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::mkdtemp;

use crate::scene::Scene;
use crate::workshop::Problem;

/// Stands for the directory in a command line.
pub const TMP: &str = "{tmp}";

/// A directory where the programs may leave files. It is removed with all that is in it.
#[derive(Debug)]
pub struct Scratch(Option<PathBuf>);

impl Scratch {
    /// One that nobody else has; none where no command line wants one.
    pub fn of(scene: &Scene) -> Result<Self, Problem> {
        if !scene.programs.iter().any(|program| program.command.contains(TMP)) {
            return Ok(Self(None));
        }
        let path = mkdtemp(&env::temp_dir().join("socklab-XXXXXX"))
            .map_err(|errno| Problem::while_doing("make a directory (mkdtemp)")(errno.into()))?;
        Ok(Self(Some(path)))
    }

    /// Where it is.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The command line with its name in it.
    pub fn named_in(&self, command: &str) -> String {
        match &self.0 {
            Some(path) => command.replace(TMP, &path.display().to_string()),
            None => command.into(),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed stays for whoever clears such directories away.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Python's interpreter itself. What `python3` names may be a script that starts others to find it, and who leads a program
/// from call to call would lead that script.
pub fn python() -> OsString {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let path = asked.map(|output| OsString::from_vec(output.stdout.trim_ascii().to_vec())).unwrap_or_default();
    // Where there is none, the message is that of whoever tries to start it.
    if path.is_empty() { "python3".into() } else { path }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use crate::scene;

    #[test]
    fn a_scene_gets_a_directory_if_a_program_asks_for_one_and_nothing_of_it_stays() {
        let scene = scene::parse("program server a {tmp}/x\nprogram client b\n").unwrap();
        let scratch = Scratch::of(&scene).unwrap();
        let file = PathBuf::from(scratch.named_in("{tmp}/x"));
        fs::write(&file, "left behind").unwrap();
        drop(scratch);
        assert!(!file.parent().unwrap().exists());
        let without = Scratch::of(&scene::parse("program server a\n").unwrap()).unwrap();
        assert!(without.0.is_none());
        assert_eq!(without.named_in("a {port}"), "a {port}");
    }
}
