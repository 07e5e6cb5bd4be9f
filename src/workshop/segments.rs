//! `socklab segments`: the TCP segments and UDP datagrams of one interface, with relative numbers.

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::event::Event;
use crate::lens::segments::{Ended, Segments, Statistics};
use crate::sys::packet::Refused;
use crate::sys::readiness;
use crate::sys::signals::Signals;
use crate::view::paint::{QUIET, harmless, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::Problem;

/// How many segments may be on their way from the lens to the page.
const ON_THEIR_WAY: usize = 16_384;
/// How often is looked whether something came. Not at once when it comes: many are printed together.
const LOOK: Duration = Duration::from_millis(10);

/// What is to be shown.
#[derive(Debug)]
pub struct Options {
    /// Only this port.
    pub port: Option<u16>,
    /// The interface's name.
    pub interface: String,
    /// End after so many.
    pub count: Option<u64>,
    /// As JSON, one event a line.
    pub json: bool,
}

/// Shows every segment from now on, until Ctrl-C or until there were enough.
pub fn segments(options: &Options) -> Result<ExitCode, Problem> {
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    let (to, events) = sync_channel(ON_THEIR_WAY);
    let lens = Segments::start(&options.interface, options.port, Instant::now(), to).map_err(why_not)?;
    let mut show = Show::new(options);
    show.beginning()?;
    show_until_told(&signals, &events, &mut show)?;
    let Ended { statistics, rest, error } = lens.stop();
    for event in events.try_iter().chain(rest) {
        show.event(&event)?;
    }
    show.end(statistics)?;
    match error {
        Some(error) => Err(Problem::while_doing("go on capturing")(error)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn show_until_told(signals: &Signals, events: &Receiver<Event>, show: &mut Show) -> Result<(), Problem> {
    loop {
        readiness::wait(&[signals.as_fd()], LOOK).map_err(Problem::while_doing("wait (poll)"))?;
        if let Some(signal) = signals.next().map_err(Problem::while_doing("read signals"))?
            && signal != Signal::SIGCHLD
        {
            return Ok(());
        }
        // No more at a time than fit into the channel, so that under a flood the signals have their turn too.
        for event in events.try_iter().take(ON_THEIR_WAY) {
            show.event(&event)?;
        }
        show.flush()?;
        if show.has_enough() {
            return Ok(());
        }
    }
}

/// The right to capture is what most users lack.
fn why_not(refused: Refused) -> Problem {
    let mut text = format!("could not capture: {}", harmless(refused.to_string().as_bytes()));
    match refused.error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => text.push_str(
            "\n  hint: capturing needs the capability CAP_NET_RAW: put sudo in front\n  hint: socklab watch makes a network \
             of its own, where it needs no right",
        ),
        Some(Errno::ENODEV) => text.push_str("\n  hint: the interfaces that are there: ip link"),
        Some(Errno::ENETDOWN) => text.push_str("\n  hint: the interface is down"),
        _ => {}
    }
    Problem::Told(text)
}

/// Where the segments are shown, and how many there were.
struct Show<'a> {
    options: &'a Options,
    out: Out,
    shown: u64,
}

enum Out {
    Timeline(Box<Timeline>),
    Json(BufWriter<io::Stdout>),
}

impl<'a> Show<'a> {
    fn new(options: &'a Options) -> Self {
        let out = if options.json {
            Out::Json(BufWriter::with_capacity(64 * 1024, io::stdout()))
        } else {
            Out::Timeline(Box::new(Timeline::new(options.port).in_microseconds()))
        };
        Self { options, out, shown: 0 }
    }

    fn beginning(&mut self) -> io::Result<()> {
        let interface = harmless(self.options.interface.as_bytes());
        let port = self.options.port.map_or(String::new(), |port| format!(", port {port}"));
        self.remark(&format!("Capturing on {interface}{port}. Numbers count from each side's SYN. Ctrl-C ends."))
    }

    fn has_enough(&self) -> bool {
        self.options.count.is_some_and(|count| self.shown >= count)
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.has_enough() {
            return Ok(());
        }
        self.shown += 1;
        match &mut self.out {
            Out::Timeline(timeline) => timeline.put(event),
            Out::Json(out) => {
                serde_json::to_writer(&mut *out, event)?;
                out.write_all(b"\n")
            }
        }
    }

    /// Fails, too, where nobody reads any more though there was nothing to print.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Timeline(timeline) => {
                timeline.page().flush()?;
                timeline.page().check_reader()
            }
            Out::Json(out) => {
                out.flush()?;
                if readiness::has_lost_its_reader(io::stdout().as_fd()) { Err(Errno::EPIPE.into()) } else { Ok(()) }
            }
        }
    }

    fn end(&mut self, statistics: Statistics) -> io::Result<()> {
        self.flush()?;
        for text in counted(self.shown, statistics) {
            self.remark(&text)?;
        }
        let command = tcpdump(self.options.interface.as_str(), self.options.port);
        self.remark(&in_style(QUIET, &format!("the same from the machine's own tool: {command}")))
    }

    /// What is no event goes beside the JSON, not into it.
    fn remark(&mut self, text: &str) -> io::Result<()> {
        match &mut self.out {
            Out::Timeline(timeline) => {
                timeline.page().line(text, 4)?;
                timeline.page().flush()
            }
            Out::Json(_) => writeln!(io::stderr(), "{}", anstream::adapter::strip_str(text)),
        }
    }
}

/// What there was, and what is missing.
fn counted(shown: u64, statistics: Statistics) -> Vec<String> {
    let Statistics { captured, dropped, lost, malformed, .. } = statistics;
    let mut lines = vec![format!("{shown} shown, {captured} captured, {dropped} dropped by the kernel")];
    if lost > 0 {
        lines.push(format!("{lost} captured ones were thrown away: they came faster than they could be shown"));
    }
    if malformed > 0 {
        lines.push(format!("{malformed} packets had headers that are not what they should be, and are not shown"));
    }
    lines
}

/// The `tcpdump` command that shows the same segments.
pub fn tcpdump(interface: &str, port: Option<u16>) -> String {
    let filter = port.map_or("tcp or udp".into(), |port| format!("port {port}"));
    format!("sudo tcpdump -i {} -nn '{filter}'", harmless(interface.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tcpdump_command_names_the_same_interface_and_the_same_port() {
        assert_eq!(tcpdump("lo", Some(7001)), "sudo tcpdump -i lo -nn 'port 7001'");
        assert_eq!(tcpdump("eth0", None), "sudo tcpdump -i eth0 -nn 'tcp or udp'");
    }

    #[test]
    fn what_is_missing_is_said_only_where_something_is_missing() {
        let all = Statistics { captured: 7, ..Statistics::default() };
        assert_eq!(counted(7, all), ["7 shown, 7 captured, 0 dropped by the kernel"]);
        assert_eq!(counted(5, Statistics { lost: 2, malformed: 1, ..all }).len(), 3);
    }
}
