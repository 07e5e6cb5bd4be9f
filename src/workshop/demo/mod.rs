//! `socklab demo N`: a lab's server and clients, unattended, on one timeline; then what happened, held against what the lab
//! says.

mod cast;
mod judge;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::sandbox::Rung;
use crate::view::paint::{OWN, Page, QUIET, SERVER, STRONG, in_style};
use crate::workshop::account::Account;
use crate::workshop::labs::Lab;
use crate::workshop::outputs::OutputOptions;
use crate::workshop::watch::{self, Play};
use crate::workshop::{Problem, build};

use judge::{Check, Seen};

/// A demo that is not over by then has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// What is to be shown.
#[derive(Debug)]
pub struct Options {
    /// The lab.
    pub lab: &'static Lab,
    /// Whether the timeline is printed.
    pub timeline: bool,
    /// Whether the ladders are printed at the end.
    pub ladder: bool,
    /// Files to write.
    pub outputs: OutputOptions,
}

/// Shows it. The exit code is 0 if what the kernel showed is what the lab says, 1 if not, 2 where it could not be judged.
pub fn demo(options: &Options) -> Result<ExitCode, Problem> {
    let lab = options.lab;
    // Cargo may want the machine's network, and the disk, as the user that we still are.
    let binary = |name: &str| build::binary(lab, name).map(from_here);
    let (server, client) = (binary(&lab.server())?, binary(&lab.client())?);
    let rung = Rung::of_this_machine().enter();
    let port = if rung.has_own_network() { lab.port } else { crate::workshop::run::free_port()? };
    let play = Play {
        title: format!("lab {}: {}", lab.number, lab.idea),
        server: Some(cast::server(&server)),
        clients: cast::clients(lab, &client),
        port,
        by_hand: None,
        rung,
        limit: Some(LIMIT),
        patience: Duration::from_secs(10),
        timeline: options.timeline,
        ladder: options.ladder,
    };
    let mut account = Account::default();
    let outcome = watch::perform(&play, &options.outputs, &mut |event| account.add(event))?;
    let seen =
        Seen { clients: &play.clients, has_segments: play.rung.has_segments(), outcome: &outcome, account: &account };
    let checks = judge::judge(lab, &seen);
    if options.outputs.take_stdout() {
        return Ok(verdict(&checks));
    }
    let mut page = Page::stdout();
    page.gap()?;
    tell(&mut page, &account)?;
    page.line(&in_style(STRONG, "What the lab says, and what the kernel showed"), 0)?;
    for check in &checks {
        let mark = match check.is_so {
            Some(true) => in_style(SERVER, "yes"),
            Some(false) => in_style(OWN, "NO "),
            None => in_style(QUIET, " ? "),
        };
        page.line(&format!("  {mark} {}", check.what), 6)?;
    }
    page.flush()?;
    Ok(verdict(&checks))
}

/// A path as one would type it from the working directory: shorter, where it lies below.
fn from_here(path: PathBuf) -> PathBuf {
    let below = env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    // A single word would be looked for along PATH.
    below.filter(|below| below.components().count() > 1).unwrap_or(path)
}

/// Each connection in sentences.
fn tell(page: &mut Page, account: &Account) -> Result<(), Problem> {
    page.line(&in_style(STRONG, "What happened"), 0)?;
    for connection in &account.connections {
        page.line(&format!("  {} → {}", connection.client, connection.server), 4)?;
        for sentence in connection.sentences() {
            page.line(&format!("    {sentence}"), 6)?;
        }
    }
    Ok(page.gap()?)
}

fn verdict(checks: &[Check]) -> ExitCode {
    match checks {
        _ if checks.iter().any(|check| check.is_so == Some(false)) => ExitCode::from(1),
        _ if checks.iter().any(|check| check.is_so.is_none()) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}
