//! The manifests of the learner's packages and of their workspace, made from the repository's own.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use toml::{Table, Value};

use crate::workshop::Problem;
use crate::workshop::exercises::work::{MANIFEST, Package, SERVER, Work};
use crate::workshop::labs::LABS;

const LOCK: &str = "Cargo.lock";
/// Of a lab's own `[package]`; all else is named in [`package_manifest`].
const KEPT: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// The manifest of a package: the lab's own, with one binary, and without tests.
pub fn package_manifest(root: &Path, package: &Package) -> Result<String, Problem> {
    let its_lab = read(&root.join("labs").join(package.lab.package).join(MANIFEST))?;
    let mut manifest = Table::new();
    let mut about = Table::new();
    about.insert("name".into(), package.name().into());
    let of_lab = its_lab.get("package").and_then(Value::as_table);
    for key in KEPT {
        if let Some(value) = of_lab.and_then(|of_lab| of_lab.get(key)) {
            about.insert(key.into(), value.clone());
        }
    }
    manifest.insert("package".into(), about.into());
    // The lab's programs use its library by the lab's name.
    if let Some(library) = its_lab.get("lib").and_then(Value::as_table) {
        let mut library = library.clone();
        library.entry("name").or_insert_with(|| package.lab.package.into());
        manifest.insert("lib".into(), library.into());
    }
    let server = table([("name", package.server().into()), ("path", SERVER.into())]);
    manifest.insert("bin".into(), Value::Array(vec![server.into()]));

    let by_workspace = || Value::from(table([("workspace", true.into())]));
    let mut dependencies = Table::new();
    for (name, value) in its_lab.get("dependencies").and_then(Value::as_table).into_iter().flatten() {
        // Another lab's library is where the workspace says: this manifest is written once, and the repository may move.
        let is_path = value.get("path").is_some();
        dependencies.insert(name.clone(), if is_path { by_workspace() } else { value.clone() });
    }
    for name in &package.dependencies {
        dependencies.entry(name).or_insert_with(by_workspace);
    }
    manifest.insert("dependencies".into(), dependencies.into());
    manifest.insert("lints".into(), by_workspace());
    let head = format!("# The server of lab {}, yours to change.\n", package.lab.number);
    Ok(head + &written(&manifest)?)
}

impl Work {
    /// Brings the workspace's manifest and lock file up to date with the repository's. Both are written anew as needed; the
    /// learner's are the packages in it.
    pub fn prepare(&self) -> Result<(), Problem> {
        let mut manifest = Table::new();
        let of_root = read(&self.root.join(MANIFEST))?;
        let workspace = of_root.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
        let mut own = Table::new();
        for key in ["resolver", "package", "dependencies", "lints"] {
            if let Some(value) = workspace.get(key) {
                own.insert(key.into(), value.clone());
            }
        }
        own.insert("members".into(), self.members()?.into());
        if let (Some(identity), Some(about)) = (self.identity(), own.get_mut("package").and_then(Value::as_table_mut)) {
            let version = about.get("version").and_then(Value::as_str).unwrap_or("0.0.0").to_string();
            about.insert("version".into(), format!("{version}-{identity}").into());
        }
        if let Some(dependencies) = own.get_mut("dependencies").and_then(Value::as_table_mut) {
            self.find_paths(dependencies);
        }
        manifest.insert("workspace".into(), own.into());
        if let Some(profiles) = of_root.get("profile") {
            manifest.insert("profile".into(), profiles.clone());
        }
        let head = "# Written anew by socklab as needed: change the packages, not this file.\n";
        self.replace(MANIFEST, &(head.to_string() + &written(&manifest)?))?;
        self.follow_the_lock()
    }

    /// The packages: those directories whose manifest can be read. One that is broken must not keep the others from being
    /// built; when it is its turn, cargo says what is wrong.
    fn members(&self) -> Result<Vec<String>, Problem> {
        let entries = fs::read_dir(&self.directory).map_err(|error| self.problem(&self.directory, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let is_package = |name: &String| {
            let directory = self.directory.join(name);
            !name.starts_with('.') && directory.join(SERVER).is_file() && read(&directory.join(MANIFEST)).is_ok()
        };
        let mut members: Vec<String> = names.filter(is_package).collect();
        members.sort();
        Ok(members)
    }

    /// Every package of the repository that a lab depends on, by its place.
    fn find_paths(&self, dependencies: &mut Table) {
        let place = |path: &Path| Value::from(self.root.join(path).display().to_string());
        for value in dependencies.iter_mut().filter_map(|(_, value)| value.as_table_mut()) {
            if let Some(path) = value.get("path").and_then(Value::as_str).map(str::to_string) {
                value.insert("path".into(), place(Path::new(&path)));
            }
        }
        for lab in LABS {
            let path = place(&Path::new("labs").join(lab.package));
            dependencies.entry(lab.package).or_insert_with(|| table([("path", path)]).into());
        }
    }

    /// A word for a directory that is not the repository's own `work/`.
    ///
    /// It becomes a part of the packages' version. Cargo tells packages apart by name, version and place *within* their
    /// workspace, and takes what is older than the last build for built: without this, two directories that share
    /// `target/` would get each other's programs.
    pub(super) fn identity(&self) -> Option<String> {
        if self.directory == self.root.join("work") {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        self.directory.hash(&mut hasher);
        Some(format!("w{:08x}", hasher.finish() as u32))
    }

    /// The same versions as in the repository, so that nothing is compiled that has been compiled there.
    fn follow_the_lock(&self) -> Result<(), Problem> {
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
        let (theirs, ours) = (self.root.join(LOCK), self.directory.join(LOCK));
        match (changed(&theirs), changed(&ours)) {
            (Ok(theirs), Ok(ours)) if theirs < ours => Ok(()),
            (Err(_), _) => Ok(()),
            _ => self.replace(LOCK, &fs::read_to_string(&theirs).map_err(|error| self.problem(&theirs, &error))?),
        }
    }

    /// Another cargo may be reading just now: the file is exchanged as a whole, and only if it would be another one.
    fn replace(&self, name: &str, text: &str) -> Result<(), Problem> {
        let path = self.directory.join(name);
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        write_atomically(&path, text.as_bytes()).map_err(|error| self.problem(&path, &error))
    }
}

/// Writes beside the file and renames: who reads gets the old one or the new one, whole.
pub fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

fn read(path: &Path) -> Result<Table, Problem> {
    let told = |error: &dyn std::fmt::Display| Problem::Told(format!("{}: {error}", path.display()));
    fs::read_to_string(path).map_err(|error| told(&error))?.parse().map_err(|error: toml::de::Error| told(&error))
}

fn written(manifest: &Table) -> Result<String, Problem> {
    toml::to_string(manifest).map_err(|error| Problem::Told(format!("write a Cargo.toml: {error}")))
}
