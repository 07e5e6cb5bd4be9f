//! Watching the learner's files: their times and lengths, looked at a few times a second.
//!
//! That works for every editor and on every file system. An editor that writes a new file and renames it, as most do, leaves
//! a moment without one: a change counts once it has been the same twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_millis(150);
/// How soon once more after something has changed.
pub const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a file may be gone while an editor exchanges it.
const EXCHANGE: Duration = Duration::from_secs(1);
/// Directories within directories: modules have no more.
const DEEPEST: usize = 4;

/// Each file's time and length.
type Seen = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The files of one exercise, and what they were when they were looked at last.
pub struct Watch {
    directory: PathBuf,
    known: Seen,
    changed: Option<(Seen, Instant)>,
}

impl Watch {
    /// Begins with the files as they are now.
    pub fn on(directory: PathBuf) -> Self {
        Self { known: look(&directory), directory, changed: None }
    }

    /// From now on, what is there is what is known.
    pub fn refresh(&mut self) {
        self.known = look(&self.directory);
        self.changed = None;
    }

    /// Whether the files were changed and have come to rest.
    pub fn has_changed(&mut self) -> bool {
        let now = look(&self.directory);
        if now == self.known {
            self.changed = None;
            return false;
        }
        let since = match &self.changed {
            Some((before, since)) if *before == now => *since,
            _ => {
                self.changed = Some((now, Instant::now()));
                return false;
            }
        };
        let is_gone = self.known.keys().any(|file| !now.contains_key(file));
        if is_gone && since.elapsed() < EXCHANGE {
            return false;
        }
        self.known = now;
        self.changed = None;
        true
    }

    /// When to look next.
    pub fn next_look(&self) -> Duration {
        if self.changed.is_some() { LOOK_AGAIN } else { LOOK }
    }
}

fn look(directory: &Path) -> Seen {
    let mut seen = Seen::new();
    collect(directory, DEEPEST, &mut seen);
    seen
}

/// Rust files and manifests. What editors put beside them has other names: `.server.rs.swp`, `server.rs~`, `#server.rs#`, 4913.
fn collect(directory: &Path, deepest: usize, seen: &mut Seen) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        // Through a link, if it is one: the file is what counts.
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() && deepest > 0 {
            collect(&path, deepest - 1, seen);
        } else if about.is_file() && path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
        {
            seen.insert(path, (about.modified().ok(), about.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(PathBuf);

    impl Files {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("socklab-watch-{}-{name}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("server.rs"), "1").unwrap();
            Self(directory)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_change_counts_once_it_has_been_seen_twice() {
        let files = Files::new("twice");
        let mut watch = Watch::on(files.0.clone());
        assert!(!watch.has_changed());
        files.write("server.rs", "12");
        assert!(!watch.has_changed() && watch.next_look() == LOOK_AGAIN);
        files.write("server.rs", "123");
        assert!(!watch.has_changed(), "still being written");
        assert!(watch.has_changed());
        assert!(!watch.has_changed() && watch.next_look() == LOOK);
    }

    #[test]
    fn what_editors_put_beside_a_file_is_no_change() {
        let files = Files::new("beside");
        let mut watch = Watch::on(files.0.clone());
        for name in [".server.rs.swp", "server.rs~", "#server.rs#", "4913", "notes.txt"] {
            files.write(name, "x");
        }
        assert!(!watch.has_changed() && !watch.has_changed());
    }

    #[test]
    fn a_file_that_is_exchanged_is_one_change_and_no_loss() {
        let files = Files::new("exchange");
        let mut watch = Watch::on(files.0.clone());
        fs::rename(files.0.join("server.rs"), files.0.join("server.rs~")).unwrap();
        assert!(!watch.has_changed() && !watch.has_changed(), "it may come back");
        files.write(".new", "12");
        fs::rename(files.0.join(".new"), files.0.join("server.rs")).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
    }
}
