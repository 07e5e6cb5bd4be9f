//! `socklab check`: what a lab promises, asked of a server in any language, and judged by what the kernel shows.
//!
//! A check starts a fresh server, is its client, and looks at bytes, at the states of sockets, at who holds them, and at
//! processes. What the server prints may explain a failure, and decides nothing; except in `tells-state`, whose exercise is to
//! print what the kernel says, and there it is held against that.
//!
//! To add one: a function in one of the files beside this one that takes a [`Case`] and returns `Ok(())` or what [`Case::fail`]
//! makes, and a line in [`list::CHECKS`].

mod calls;
mod case;
mod chat;
mod chat_more;
mod client;
mod echo;
mod evidence;
mod exercises;
mod fork;
mod life;
mod lines;
pub mod list;
mod messages;
mod page;
mod place;
mod pour;
mod ready;
mod report;
mod server;
mod talk;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::sys::process;
use crate::sys::signals::Signals;
use crate::view::paint::{Page, harmless};
use crate::workshop::labs::Lab;
use crate::workshop::outputs::shown;
use crate::workshop::{Problem, build};

pub use case::{Case, Failure};
pub use client::Client;
pub use list::Check;
pub use report::{Judged, Kind, Outcome, Report, Verdict};

use case::Stopped;
use place::Place;

/// What is to be checked, as it was asked for.
#[derive(Debug)]
pub struct Options {
    /// The lab whose promises are meant.
    pub lab: &'static Lab,
    /// Only these checks, and those that they depend on; empty for all that the lab promises.
    pub only: Vec<String>,
    /// Only say which checks there are.
    pub list: bool,
    /// Where to write the report as JSON; `-` is standard output, on which then nothing else is printed.
    pub json: Option<PathBuf>,
    /// Where to write it as a page.
    pub html: Option<PathBuf>,
    /// The port; by default the lab's own, or a free one where there is no network of its own.
    pub port: Option<u16>,
    /// Where a client reaches the server; by default 127.0.0.1.
    pub address: Option<IpAddr>,
    /// How long the server may take until it listens.
    pub patience: Duration,
    /// The server: a program and its arguments, `{port}` standing for the port. Empty for the lab's own.
    pub command: Vec<OsString>,
}

/// What is judged, and where.
pub struct Stage<'a> {
    lab: &'static Lab,
    command: Vec<OsString>,
    /// Whether it is the lab's own server: that understands the arguments that some checks need.
    is_own: bool,
    port: Option<u16>,
    address: IpAddr,
    patience: Duration,
    place: Place,
    signals: &'a Signals,
}

/// Checks a server, prints the report and writes it to where it was asked for.
pub fn check(options: &Options) -> Result<ExitCode, Problem> {
    if options.list {
        return list::print(options.lab).map(|()| ExitCode::SUCCESS);
    }
    let to_stdout = options.json.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let json = options.json.as_deref().filter(|_| !to_stdout).map(open).transpose()?;
    let html = options.html.as_deref().map(open).transpose()?;
    let mut page = Page::stdout();
    let mut show = |report: &Report, latest: Option<&Judged>| match (to_stdout, latest) {
        (true, _) => Ok(()),
        (false, None) => report.print_head(&mut page),
        (false, Some(result)) => report.print_result(&mut page, result),
    };
    let report = judge(options, &mut show)?;
    if let Some((path, mut file)) = json {
        file.write_all(report.to_json().as_bytes()).map_err(|error| cannot_write(&path, &error))?;
    }
    if let Some((path, mut file)) = html {
        file.write_all(page::page(&report).as_bytes()).map_err(|error| cannot_write(&path, &error))?;
    }
    if to_stdout {
        stdout().write_all(report.to_json().as_bytes())?;
    } else {
        report.print_summary(&mut page)?;
    }
    Ok(report.exit_code())
}

fn open(path: &Path) -> Result<(PathBuf, File), Problem> {
    if path.as_os_str() == "-" {
        return Err(Problem::Told("--html -: a page needs a file of its own".into()));
    }
    File::create(path).map(|file| (path.to_owned(), file)).map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::Told(format!("write {}: {}", shown(path), crate::sys::with_name(error)))
}

/// What is told while checks go on: the report so far, and the latest result; none before the first check.
pub type Show<'a> = dyn FnMut(&Report, Option<&Judged>) -> std::io::Result<()> + 'a;

/// Runs the checks one after the other. To be called while this process has a single thread, and once: from then on it is
/// in another network, where the machine allows that. Nothing of any server is left afterwards.
pub fn judge(options: &Options, show: &mut Show) -> Result<Report, Problem> {
    let checks = list::chosen(options.lab, &options.only).map_err(Problem::Told)?;
    let (command, is_own) = match options.command.as_slice() {
        // Before the network is left: what is missing may have to be fetched.
        [] => (own_server(options)?, true),
        words => (words.to_vec(), false),
    };
    let place = Place::enter();
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    process::adopt_orphans().map_err(Problem::while_doing("adopt orphans (prctl)"))?;
    let stage = Stage {
        lab: options.lab,
        command,
        is_own,
        port: options.port,
        address: options.address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        patience: options.patience,
        place,
        signals: &signals,
    };
    let mut report = Report::new(&stage);
    show(&report, None)?;
    for check in checks {
        let result = match report.what_keeps_from(check) {
            Some(outcome) => Judged::not_run(check, outcome),
            None => run(&stage, check),
        };
        let interrupted = result.interrupted;
        report.results.push(result);
        show(&report, report.results.last())?;
        if let Some(signal) = interrupted {
            report.interrupted = Some(signal);
            break;
        }
    }
    report.took = report.begun.elapsed();
    Ok(report)
}

fn own_server(options: &Options) -> Result<Vec<OsString>, Problem> {
    let binary = build::binary(options.lab, &options.lab.server())?;
    let mut command = vec![binary.into(), "--port".into(), "{port}".into()];
    if let Some(address) = options.address {
        command.extend(["--addr".into(), address.to_string().into()]);
    }
    Ok(command)
}

/// One check, with a server of its own, in a network in which nothing has happened yet.
fn run(stage: &Stage, check: &'static Check) -> Judged {
    let begun = Instant::now();
    let mut interrupted: Option<Signal> = None;
    let (mut steps, mut port) = (Vec::new(), None);
    let outcome = match Case::new(stage, check) {
        Ok(mut case) => {
            let verdict = (check.run)(&mut case);
            port = Some(case.port());
            steps = case.end();
            match verdict {
                Ok(()) => Outcome::Passed,
                Err(Stopped::Failed(failure)) => Outcome::Failed(failure),
                Err(Stopped::NotJudged(why)) => Outcome::NotJudged(why),
                Err(Stopped::Interrupted(signal)) => {
                    interrupted = Some(signal);
                    Outcome::NotJudged(format!("{signal} came before it was through"))
                }
            }
        }
        Err(problem) => Outcome::NotJudged(harmless(problem.to_string().as_bytes())),
    };
    Judged { check, outcome, steps, port, took: begun.elapsed(), interrupted }
}
