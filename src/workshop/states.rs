//! `socklab states`: the kernel's sockets at this moment, explained.

use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::event::{Endpoint, Event, Socket, What};
use crate::lens::follow::{Follower, RELAXED};
use crate::lens::owners::Owners;
use crate::lens::table::{Subject, Tables};
use crate::sys::readiness;
use crate::sys::signals::Signals;
use crate::view::paint::{Page, QUIET, in_style};
use crate::view::table;
use crate::view::timeline::Timeline;
use crate::workshop::Problem;

/// With more sockets than this, their owners are looked up only when asked for: it takes longer than all the rest.
const MANY: usize = 1000;

/// What is to be shown.
#[derive(Debug)]
pub struct Options {
    /// Which sockets.
    pub subject: Subject,
    /// Go on, and show each change.
    pub watch: bool,
    /// As JSON, one object a line.
    pub json: bool,
    /// Look up the owners even of very many sockets.
    pub processes: bool,
}

/// Shows them.
pub fn states(options: &Options) -> Result<ExitCode, Problem> {
    let kernel = Problem::while_doing("ask the kernel for its sockets (sock_diag)");
    let mut tables = Tables::open().map_err(&kernel)?;
    if !options.watch {
        show(tables.snapshot(&options.subject, true).map_err(&kernel)?, options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    // What is shown first is the first sample: no change can fall between the two.
    let mut follower = Follower::new(tables, options.subject.clone(), Instant::now());
    follower.sample().map_err(&kernel)?;
    show(follower.sockets().cloned().collect(), options)?;
    watch(&signals, follower, options)
}

fn show(mut sockets: Vec<Socket>, options: &Options) -> Result<(), Problem> {
    sort(&mut sockets);
    let with_owners = options.processes || sockets.len() <= MANY;
    if with_owners {
        let owners = Owners::look_up();
        sockets.iter_mut().for_each(|socket| owners.fill_in(socket));
    }
    if options.json { print_json(&sockets) } else { print_table(&sockets, options, with_owners) }
}

/// In the order of the table: by protocol, listening ones first, then by their ends.
fn sort(sockets: &mut [Socket]) {
    // Of two sockets nearly always the digest decides: comparing addresses field by field takes ten times as long.
    sockets.sort_by_cached_key(|socket| {
        let path = match &socket.local {
            Endpoint::Path(path) => Some(path.clone()),
            _ => None,
        };
        (digest(socket), path)
    });
}

/// Protocol, whether it listens, and both ends with their ports: of an IPv6 address the last 32 bits.
fn digest(socket: &Socket) -> u128 {
    let end = |end: &Endpoint| match end {
        Endpoint::Inet(SocketAddr::V4(address)) => (0, address.ip().to_bits(), address.port()),
        Endpoint::Inet(SocketAddr::V6(address)) => (1, address.ip().to_bits() as u32, address.port()),
        Endpoint::Path(_) | Endpoint::Unnamed => (0, 0, 0),
    };
    let ((version, local, local_port), (_, remote, remote_port)) = (end(&socket.local), end(&socket.remote));
    let mut digest = socket.protocol as u128;
    for (bits, number) in [
        (1, u32::from(!socket.is_listening())),
        (1, version),
        (32, local),
        (16, u32::from(local_port)),
        (32, remote),
        (16, u32::from(remote_port)),
    ] {
        digest = digest << bits | u128::from(number);
    }
    digest
}

fn print_table(sockets: &[Socket], options: &Options, with_owners: bool) -> Result<(), Problem> {
    let mut page = Page::stdout();
    if sockets.is_empty() {
        page.line("no such socket now", 0)?;
    } else {
        table::print(&mut page, sockets, with_owners)?;
        page.gap()?;
        table::explain(&mut page, sockets)?;
        if !with_owners {
            page.line("Owners were not looked up, for there are many sockets: --processes does it.", 0)?;
        }
    }
    page.gap()?;
    page.line(&in_style(QUIET, &format!("the same from the machine's own tool: {}", ss(&options.subject))), 4)?;
    Ok(page.flush()?)
}

fn print_json(sockets: &[Socket]) -> Result<(), Problem> {
    let mut out = BufWriter::new(io::stdout().lock());
    for socket in sockets {
        serde_json::to_writer(&mut out, socket).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Every change from now on, until Ctrl-C.
fn watch(signals: &Signals, mut follower: Follower, options: &Options) -> Result<ExitCode, Problem> {
    let mut timeline = Timeline::new(options.subject.port);
    let kernel = Problem::while_doing("ask the kernel for its sockets (sock_diag)");
    if !options.json {
        let (most, least) = (RELAXED.0.as_millis(), RELAXED.1.as_millis());
        let text =
            format!("Watching, every {most} to {least} ms; what comes and goes in between is not seen. Ctrl-C ends.");
        timeline.page().line(&text, 0)?;
        timeline.page().flush()?;
    }
    loop {
        readiness::wait(&[signals.as_fd()], follower.pause()).map_err(Problem::while_doing("wait (poll)"))?;
        if let Some(signal) = signals.next().map_err(Problem::while_doing("read signals"))?
            && signal != Signal::SIGCHLD
        {
            return Ok(ExitCode::SUCCESS);
        }
        timeline.page().check_reader()?;
        let events = follower.sample().map_err(&kernel)?;
        if options.json {
            print_changes(&events)?;
        } else {
            timeline.print_all(events)?;
        }
    }
}

/// The socket with its new state; a socket that is gone, as it was last seen, with `"gone":true`.
fn print_changes(events: &[Event]) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    for event in events {
        let (socket, gone) = match &event.what {
            What::Gone(socket) => (socket, true),
            What::Appeared(socket)
            | What::Changed { socket, .. }
            | What::Accepted(socket)
            | What::Queued { socket, .. }
            | What::Lying(socket) => (socket, false),
            _ => continue,
        };
        let mut value = serde_json::to_value(socket).map_err(io::Error::from)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("at".into(), event.at.as_secs_f64().into());
            if gone {
                object.insert("gone".into(), true.into());
            }
        }
        writeln!(out, "{value}")?;
    }
    Ok(out.flush()?)
}

/// The `ss` command that shows the same sockets.
pub fn ss(subject: &Subject) -> String {
    let letters: String = [(subject.tcp, 't'), (subject.udp, 'u'), (subject.unix, 'x')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, l)| *l)
        .collect();
    match subject.port {
        Some(port) => format!("ss -{letters}an 'sport = :{port} or dport = :{port}'"),
        None => format!("ss -{letters}an"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ss_command_names_the_same_protocols_and_the_same_port() {
        let subject = Subject { tcp: true, port: Some(7001), ..Subject::default() };
        assert_eq!(ss(&subject), "ss -tan 'sport = :7001 or dport = :7001'");
        assert_eq!(ss(&Subject { udp: true, unix: true, ..Subject::default() }), "ss -uxan");
    }
}
