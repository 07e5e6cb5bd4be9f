//! Building a lab that is not built yet.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workshop::Problem;
use crate::workshop::labs::Lab;

/// The binaries of a lab, up to date: asks cargo where there is one, and takes what is there where there is none.
///
/// They are built in the profile that this command was built in, and lie beside it.
pub fn binary(lab: &Lab, name: &str) -> Result<PathBuf, Problem> {
    let this = env::current_exe().map_err(Problem::while_doing("look for the labs' binaries"))?;
    let directory = this.parent().unwrap_or(Path::new("."));
    let binary = directory.join(name);
    let Some(workspace) = workspace_of(directory) else {
        return if binary.exists() { Ok(binary) } else { Err(Problem::Told(no_workspace(&binary))) };
    };

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&workspace).args(["build", "--package", lab.package]);
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    // Nothing to see where nothing is to be done; the first time takes some seconds, and then cargo shows its progress.
    if binary.exists() {
        cargo.arg("--quiet");
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(binary),
        Ok(_) => Err(Problem::Told(format!("lab {} could not be built; cargo says above why", lab.number))),
        // Somebody installed the binaries without a compiler.
        Err(_) if binary.exists() => Ok(binary),
        Err(error) => {
            Err(Problem::Told(format!("lab {} is not built, and cargo could not be started: {error}", lab.number)))
        }
    }
}

/// The root of the repository that the directory of a binary lies in.
pub fn workspace_of(directory: &Path) -> Option<PathBuf> {
    directory
        .ancestors()
        .find(|above| above.join("labs").is_dir() && above.join("Cargo.toml").is_file())
        .map(Path::to_path_buf)
}

/// The root of the repository, seen from this binary or from the working directory.
pub fn workspace() -> Result<PathBuf, Problem> {
    let from_binary = env::current_exe().ok().and_then(|this| workspace_of(&this));
    let found = from_binary.or_else(|| workspace_of(&env::current_dir().ok()?));
    found.ok_or_else(|| Problem::Told("this has to be called inside the repository: its sources are needed".into()))
}

fn no_workspace(binary: &Path) -> String {
    format!("{} is not there, and no repository is around it to build it from", binary.display())
}
