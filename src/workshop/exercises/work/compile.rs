//! Building a package of the learner's: with the repository's target directory, so that only the package is compiled.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::workshop::exercises::work::{MANIFEST, Package, Work};
use crate::workshop::{Problem, build};

/// How a command is run to its end: simply, or by who has a terminal and signals to look after meanwhile.
pub type Run<'a> = dyn FnMut(&mut Command) -> io::Result<ExitStatus> + 'a;

/// Where cargo builds, and what for.
struct Target {
    directory: PathBuf,
    profile: PathBuf,
    is_release: bool,
}

impl Target {
    /// That of this command itself; that of a plain build where it lies outside of the repository.
    fn of(work: &Work) -> Self {
        let own = env::current_exe().ok().and_then(|this| Some(this.parent()?.to_path_buf()));
        let own = own.filter(|profile| build::workspace_of(profile).is_some());
        let profile = own.unwrap_or_else(|| work.root.join("target/debug"));
        let directory = profile.parent().map_or_else(|| work.root.join("target"), PathBuf::from);
        Self { directory, is_release: profile.ends_with("release"), profile }
    }
}

impl Work {
    /// Compiles a package. `None` where that failed: cargo has said why, on standard error.
    pub fn compile(&self, package: &Package, run: &mut Run) -> Result<Option<PathBuf>, Problem> {
        let built = self.compile_all(std::slice::from_ref(package), run)?;
        Ok(built.and_then(|built| built.into_iter().next()))
    }

    /// Compiles several packages at once; where each server is, in the same order.
    pub fn compile_all(&self, packages: &[Package], run: &mut Run) -> Result<Option<Vec<PathBuf>>, Problem> {
        self.prepare()?;
        let target = Target::of(self);
        let place = target.profile.join(self.identity().map_or("exercises".into(), |word| format!("exercises-{word}")));
        fs::create_dir_all(&place).map_err(|error| self.problem(&place, &error))?;
        // Another directory with the same exercise in it may be built at the same time, by a test say.
        let _mine = self.lock(&target)?;

        let mut cargo = self.cargo("build", packages);
        cargo.arg("--bins").arg("--target-dir").arg(&target.directory);
        if target.is_release {
            cargo.arg("--release");
        }
        let servers: Vec<PathBuf> = packages.iter().map(|package| target.profile.join(package.server())).collect();
        // Nothing to see where nothing is to be done; the first time takes some seconds, and then cargo shows its progress.
        if servers.iter().all(|server| server.exists()) {
            cargo.arg("--quiet");
        }
        if self.can_do_without_network(packages) {
            cargo.arg("--offline");
        }
        match run(&mut cargo) {
            Ok(status) if status.success() => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(Problem::Told(format!("cargo could not be started: {error}"))),
        }
        let link = |server: PathBuf| {
            let link = place.join(server.file_name().unwrap_or_default());
            let beside = link.with_extension(std::process::id().to_string());
            let _ = fs::remove_file(&beside);
            fs::hard_link(&server, &beside)
                .or_else(|_| fs::copy(&server, &beside).map(drop))
                .and_then(|()| fs::rename(&beside, &link))
                .map_err(|error| self.problem(&server, &error))?;
            Ok(link)
        };
        servers.into_iter().map(link).collect::<Result<_, _>>().map(Some)
    }

    /// Whether everything that these packages are made of is on this machine.
    fn can_do_without_network(&self, packages: &[Package]) -> bool {
        let mut cargo = self.cargo("tree", packages);
        cargo.args(["--offline", "--quiet"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        cargo.status().is_ok_and(|status| status.success())
    }

    fn cargo(&self, what: &str, packages: &[Package]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(&self.directory).arg(what).arg("--manifest-path").arg(self.directory.join(MANIFEST));
        for package in packages {
            cargo.args([OsStr::new("--package"), OsStr::new(&package.name())]);
        }
        cargo
    }

    /// Waits for its turn.
    fn lock(&self, target: &Target) -> Result<Flock<File>, Problem> {
        let path = target.profile.join("exercises.lock");
        let file = File::create(&path).map_err(|error| self.problem(&path, &error))?;
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock).or_else(|(file, errno)| match errno {
            Errno::EWOULDBLOCK => {
                eprintln!("another exercise is being built: waiting for that");
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)
            }
            errno => Err(errno),
        });
        locked.map_err(|errno| self.problem(&path, &errno.into()))
    }
}
