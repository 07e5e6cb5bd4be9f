//! What has to be there before anything is measured: the labs built in release, the C programs compiled.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// The repository.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The C and Python programs.
pub fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// cargo's target directory, the one that this program was built into.
fn target() -> Result<PathBuf, Failure> {
    let own = env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program is not in a target directory")?;
    Ok(target.to_owned())
}

/// Builds a package in release, and returns the path of its program `binary`.
pub fn build(package: &str, binary: &str) -> Result<PathBuf, Failure> {
    let target = target()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", package, "--bin", binary, "--target-dir"])
        .arg(&target)
        .current_dir(root())
        .status()?;
    if status.success() {
        Ok(target.join("release").join(binary))
    } else {
        Err(format!("cargo build: {status}").into())
    }
}

/// Compiles `bench/c/NAME.c` with `cc -O2`; `None` where there is no cc.
pub fn compile(name: &str) -> Result<Option<PathBuf>, Failure> {
    let directory = target()?.join("bench-c");
    fs::create_dir_all(&directory)?;
    let program = directory.join(name);
    let compiler = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-o"])
        .arg(&program)
        .arg(source(&format!("c/{name}.c")))
        .status();
    match compiler {
        Ok(status) if status.success() => Ok(Some(program)),
        Ok(status) => Err(format!("cc {name}.c: {status}").into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether `program` can be started, with an argument that makes it do nothing much.
pub fn is_there(program: impl AsRef<OsStr>, argument: &str) -> bool {
    let quiet =
        Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
