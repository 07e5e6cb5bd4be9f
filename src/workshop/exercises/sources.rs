//! The files that a lab's server is made of.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::workshop::Problem;
use crate::workshop::exercises::change::Change;
use crate::workshop::labs::Lab;

/// The lab's own client is used in every exercise: it is not among the learner's files.
const CLIENT: &str = "client.rs";

/// Files, by their names relative to the lab's directory, with their text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// The files.
    pub files: BTreeMap<PathBuf, String>,
}

impl Sources {
    /// Those of a lab as it is: its server, its library, and their modules.
    pub fn of_lab(root: &Path, lab: &Lab) -> Result<Self, Problem> {
        let directory = root.join("labs").join(lab.package);
        let mut files = BTreeMap::new();
        collect(&directory, Path::new(""), &mut files).map_err(|error| {
            Problem::Told(format!("the files of lab {}: {}: {error}", lab.number, directory.display()))
        })?;
        files.remove(Path::new(CLIENT));
        Ok(Self { files })
    }

    /// The same with changes made, one after the other.
    pub fn changed(mut self, changes: &[Change]) -> Result<Self, Problem> {
        for change in changes {
            let Some(text) = self.files.get_mut(Path::new(&change.file)) else {
                let known: Vec<_> = self.files.keys().map(|file| file.display().to_string()).collect();
                return Err(Problem::Told(format!(
                    "{}: there is no file {:?}; there are {}",
                    change.place,
                    change.file,
                    known.join(", ")
                )));
            };
            *text = change.apply(text).map_err(Problem::Told)?;
        }
        Ok(self)
    }

    /// Those of these files that lie in a directory, with what is in them there; `None` where one is missing.
    pub fn as_they_are_in(&self, directory: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        self.files.keys().map(|file| (file.clone(), fs::read(directory.join(file)).ok())).collect()
    }

    /// Whether the files in a directory are these, byte for byte.
    pub fn are_those_in(&self, directory: &Path) -> bool {
        self.files.iter().all(|(file, text)| fs::read(directory.join(file)).is_ok_and(|found| found == text.as_bytes()))
    }

    /// Writes them into a directory that is there.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        for (file, text) in &self.files {
            let path = directory.join(file);
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            fs::write(path, text)?;
        }
        Ok(())
    }
}

/// The Rust files of a directory, and of those directories in it that hold a module's parts: `protocol/` beside
/// `protocol.rs`. Tests and programs for experiments lie in directories that belong to no module.
fn collect(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let path = entry?.path();
        let name = below.join(path.file_name().unwrap_or_default());
        if path.is_dir() && path.with_extension("rs").is_file() {
            collect(root, &name, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            files.insert(name, fs::read_to_string(path)?);
        }
    }
    Ok(())
}
