//! `socklab states`: the kernel's sockets at this moment, explained.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::event::{Event, Socket, What};
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
    sockets.sort_by(|a, b| {
        let order = |socket: &Socket| (socket.protocol, !socket.is_listening());
        order(a).cmp(&order(b)).then_with(|| (&a.local, &a.remote).cmp(&(&b.local, &b.remote)))
    });
    let with_owners = options.processes || sockets.len() <= MANY;
    if with_owners {
        let owners = Owners::look_up();
        sockets.iter_mut().for_each(|socket| owners.fill_in(socket));
    }
    if options.json { print_json(&sockets) } else { print_table(&sockets, options, with_owners) }
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
            What::Crowd(_) | What::Said(_) | What::Note(_) => continue,
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
