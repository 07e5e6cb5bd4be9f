//! `socklab replay`: a recorded run once more, on any machine.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::event::{Event, What};
use crate::record::{Fault, Header, Reader, moment};
use crate::sys::with_name;
use crate::view::paint::{Page, QUIET, STRONG, harmless, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::Problem;
use crate::workshop::ladders::Ladders;
use crate::workshop::outputs::{OutputOptions, Outputs, shown};

/// What is to be replayed, and as what.
#[derive(Debug)]
pub struct Options {
    /// The recording; `-` is standard input.
    pub file: PathBuf,
    /// Whether the timeline is printed.
    pub timeline: bool,
    /// Whether the ladders are printed at the end.
    pub ladder: bool,
    /// What else it is written to.
    pub outputs: OutputOptions,
}

/// Replays it. Of a recording that is malformed somewhere, everything before that is shown.
pub fn replay(options: &Options) -> Result<ExitCode, Problem> {
    let fault = |fault: Fault| told(options, &fault);
    let mut reader = Reader::open(open(options)?).map_err(fault)?;
    let mut outputs = Outputs::open(&options.outputs, reader.header())?;
    let mut port = reader.header().server_port;
    let mut timeline = options.timeline.then(|| Timeline::new(port).in_microseconds());
    if let Some(timeline) = &mut timeline {
        print_header(timeline.page(), reader.header())?;
    }
    let mut ladders = options.ladder.then(Ladders::default);
    let end = reader.try_for_each(|event| {
        let event = event.map_err(fault)?;
        if port.is_none() {
            port = listening_port(&event);
            outputs.set_server_port(port);
            timeline.iter_mut().for_each(|timeline| timeline.set_server_port(port));
        }
        if let Some(timeline) = &mut timeline {
            timeline.print(&event)?;
        }
        ladders.iter_mut().for_each(|ladders| ladders.event(&event));
        outputs.event(&event)
    });
    let remarks = outputs.finish()?;
    if let Some(timeline) = &mut timeline {
        timeline.show_entered()?;
        timeline.page().flush()?;
    }
    if let Some(ladders) = &ladders {
        let mut page = Page::stdout();
        if options.timeline {
            page.gap()?;
        }
        ladders.print(&mut page, port)?;
    }
    match &mut timeline {
        Some(timeline) => {
            remarks.iter().try_for_each(|remark| timeline.page().line(remark, 2))?;
            timeline.page().flush()?;
        }
        // Where standard error is closed too, there is nobody left to tell.
        None => remarks.iter().for_each(|remark| drop(writeln!(io::stderr(), "socklab: {remark}"))),
    }
    end.map(|()| ExitCode::SUCCESS)
}

fn open(options: &Options) -> Result<Box<dyn BufRead>, Problem> {
    if options.file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let read = |error: io::Error| Problem::Told(format!("read {}: {}", shown(&options.file), with_name(&error)));
    let file = File::open(&options.file).map_err(read)?;
    let its = file.metadata().map_err(read)?;
    for (option, path) in options.outputs.paths() {
        let is_same = |other: fs::Metadata| (other.dev(), other.ino()) == (its.dev(), its.ino());
        if its.is_file() && fs::metadata(path).is_ok_and(is_same) {
            let text = format!("{option} {}: that is the recording itself, which is being read", shown(path));
            return Err(Problem::Told(text));
        }
    }
    Ok(Box::new(BufReader::with_capacity(64 * 1024, file)))
}

/// `run.jsonl:3:17: …`, as compilers write it.
fn told(options: &Options, fault: &Fault) -> Problem {
    let file = match options.file.as_os_str() == "-" {
        true => "standard input".into(),
        false => shown(&options.file),
    };
    Problem::Told(match fault {
        Fault::Read { line, error } => format!("read {file}: {} (line {line})", with_name(error)),
        Fault::Malformed { line, column, why } => format!("{file}:{line}:{column}: {}", harmless(why.as_bytes())),
    })
}

/// What the recording says about itself.
fn print_header(page: &mut Page, header: &Header) -> io::Result<()> {
    let harmless = |text: &str| harmless(text.as_bytes());
    let title = if header.title.is_empty() { "a run".into() } else { harmless(&header.title) };
    page.line(&in_style(STRONG, &title), 2)?;
    let when = moment(header.started).unwrap_or_default();
    let machine = [&header.kernel, &header.machine].map(|text| harmless(text)).join(" ");
    page.line(&in_style(QUIET, &format!("recorded {when} {}", machine.trim())), 2)?;
    if !header.rung.is_empty() {
        page.line(&in_style(QUIET, &format!("observed: {}", harmless(&header.rung))), 2)?;
    }
    for command in &header.commands {
        page.line(&in_style(QUIET, &format!("command: {}", harmless(command))), 2)?;
    }
    page.gap()
}

/// The port of a server, where the event shows that it listens.
fn listening_port(event: &Event) -> Option<u16> {
    match &event.what {
        What::Appeared(socket) if socket.is_listening() => socket.local.port(),
        _ => None,
    }
}
