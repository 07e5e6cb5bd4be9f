//! `socklab demo N`: a lab's server and clients, unattended, on one timeline; then what happened, held against what the lab
//! says.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::event::{End, State};
use crate::sandbox::Rung;
use crate::view::paint::{OWN, Page, QUIET, SERVER, STRONG, in_style};
use crate::workshop::account::{Account, Connection, Side};
use crate::workshop::labs::Lab;
use crate::workshop::outputs::OutputOptions;
use crate::workshop::watch::{self, Outcome, Part, Play};
use crate::workshop::{Problem, build};

/// What each client is told.
const TYPED: [&str; 2] = ["hello\n", "good morning\nand goodbye\n"];
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
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let part = |role: &str, program: &Path, arguments: &[&str], typed: &str| Part {
        role: role.into(),
        command: [vec![program.into()], words(arguments)].concat(),
        typed: Some(typed.as_bytes().to_vec()),
    };
    // One client where one is served at a time; two where there is a process for each.
    let clients: Vec<Part> = match lab.number {
        1 | 2 => vec![part("client", &client, &["127.0.0.1", "{port}"], TYPED[0])],
        _ => ["client 1", "client 2"]
            .iter()
            .zip(TYPED)
            .map(|(role, typed)| part(role, &client, &["127.0.0.1", "{port}"], typed))
            .collect(),
    };
    let play = Play {
        title: format!("lab {}: {}", lab.number, lab.idea),
        server: Some(part("server", &server, &["--port", "{port}"], "")),
        clients,
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
    if options.outputs.take_stdout() {
        return Ok(verdict(&judge(lab, &play, &outcome, &account)));
    }
    let mut page = Page::stdout();
    page.gap()?;
    tell(&mut page, &account)?;
    let checks = judge(lab, &play, &outcome, &account);
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

/// Something that the lab says, and whether it was so; `None` where this machine cannot show it.
struct Check {
    what: String,
    is_so: Option<bool>,
}

fn judge(lab: &Lab, play: &Play, outcome: &Outcome, account: &Account) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |what: String, is_so: Option<bool>| checks.push(Check { what, is_so });
    let clients = play.clients.len();
    let with_segments = |is_so: bool| play.rung.has_segments().then_some(is_so);
    let every = |is_so: &dyn Fn(&Connection) -> bool| {
        account.connections.len() == clients && account.connections.iter().all(is_so)
    };
    check(
        format!("three segments open each connection ({clients} of them)"),
        with_segments(every(&|connection| connection.handshake.len() == 3)),
    );
    check("accept() hands each to the server".into(), Some(every(&|connection| connection.accepted.is_some())));
    let is_echoed = |connection: &Connection| {
        let [[sent, answered], [got, received]] = [connection.written, connection.read];
        sent > 0 && sent == received && answered == got && sent == got
    };
    let is_answered = |connection: &Connection| {
        let [[sent, answered], [got, received]] = [connection.written, connection.read];
        sent > 0 && sent == received && answered > 0 && answered == got
    };
    if lab.number == 4 {
        check("every request is read to its end, and every answer".into(), Some(every(&is_answered)));
    } else {
        check("every byte that a client writes comes back to it".into(), Some(every(&is_echoed)));
    }
    check(
        "the client closes first, then the server; nobody resets".into(),
        with_segments(every(&|connection| {
            connection.fins == [Side::Client, Side::Server] && connection.resets.is_empty()
        })),
    );
    check(
        "the client's end is left in TIME-WAIT, and the server's end is gone".into(),
        Some(every(&|connection| {
            // The sample that showed the one did not show the other, which may have been too short for any sample.
            connection.last_seen[0] == Some(State::TimeWait)
                && matches!(connection.last_seen[1], None | Some(State::Closed))
        })),
    );
    if lab.number == 3 {
        let children = &account.children;
        check(format!("a child for each client: {}", children.len()), Some(children.len() == clients));
        check(
            "the parent closes its copy of each connection, and the child that of the listening socket".into(),
            Some(children.iter().all(|child| child.maker_closed && child.closed_listening)),
        );
        check(
            "every child has ended, and none is left as a zombie".into(),
            Some(children.iter().all(|child| child.has_ended) && outcome.zombies.is_empty()),
        );
    }
    let are_well = play.clients.iter().all(|client| outcome.end_of(&client.role) == Some(End::Exited(0)));
    check("every client exits with code 0, in time".into(), Some(are_well && !outcome.is_late));
    checks
}

fn verdict(checks: &[Check]) -> ExitCode {
    match checks {
        _ if checks.iter().any(|check| check.is_so == Some(false)) => ExitCode::from(1),
        _ if checks.iter().any(|check| check.is_so.is_none()) => ExitCode::from(2),
        _ => ExitCode::SUCCESS,
    }
}
