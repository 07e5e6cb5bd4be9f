//! `socklab trace`: the calls of a command that concern sockets, as it makes them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::decode::syscall;
use crate::event::{End, What, Who};
use crate::lens::calls::{Calls, Gate, News, Recipients};
use crate::record::Header;
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::sys::start::Start;
use crate::view::paint::{Page, QUIET, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::outputs::{OutputOptions, Outputs};
use crate::workshop::{Problem, run};

/// How many pieces of news may wait to be printed; then the program has to wait.
const WAITING: usize = 4096;
/// How long news may wait.
const REST: Duration = Duration::from_millis(5);

/// What is to be traced.
#[derive(Debug)]
pub struct Options {
    /// The command.
    pub command: Vec<OsString>,
    /// Whether the calls are shown.
    pub timeline: bool,
    /// Files to write.
    pub outputs: OutputOptions,
}

/// Runs a command in the foreground, and tells its calls on standard error. The exit code is the command's own.
pub fn trace(options: &Options) -> Result<ExitCode, Problem> {
    let command = &options.command;
    let line = command.iter().map(|word| shell_word(&word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let rung = "calls only".into();
    let header = Header { title: line.clone(), rung, commands: vec![line.clone()], ..Header::new(SystemTime::now()) };
    let mut outputs = Outputs::open(&options.outputs, &header)?;
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    process::adopt_orphans().map_err(Problem::while_doing("adopt orphans (prctl)"))?;
    let mut timeline = Timeline::on(Page::stderr(), None).in_microseconds();
    let (sender, news) = sync_channel(WAITING);
    let follow = Problem::while_doing("follow a program (ptrace)");
    let calls = Calls::new(Instant::now(), None, sender).map_err(&follow)?;
    let start = Start {
        command: command.clone(),
        environment: Vec::new(),
        stdio: [None, None, None],
        own_group: false,
        // What the shell has opened for it, and what it ignores, is meant for it.
        afresh: false,
        calls: syscall::numbers(),
    };
    let pid = calls.start("program", start, Gate::Open).map_err(&follow)?;
    let mut end = End::Exited(0);
    let mut is_over = false;
    while !is_over {
        // Were we woken for each of them, the program would have to wait for us each time.
        std::thread::sleep(REST);
        hand_on(&signals, &calls)?;
        let before = timeline.printed();
        // Bounded: a program that never rests tells more meanwhile, and signals are to be seen.
        for piece in news.try_iter().take(WAITING) {
            match piece {
                News::Event(event) => {
                    if let (Who::Program { pid: its, .. }, What::Ended(how)) = (&event.who, &event.what)
                        && *its == pid
                    {
                        end = *how;
                    }
                    outputs.event(&event)?;
                    if options.timeline {
                        timeline.print_events(&[event])?;
                    }
                }
                // Nobody has shut a gate.
                News::Held { .. } => {}
                News::Refused { errno, .. } => return Err(Problem::Told(run::not_started(command, errno))),
                News::Quiet => is_over = true,
            }
        }
        if timeline.printed() == before {
            timeline.show_entered()?;
        }
    }
    outputs.finish()?;
    if options.timeline {
        let page = timeline.page();
        let same = format!("the same from strace: strace -f -yy -e trace=network,read,write,close {line}");
        page.line(&in_style(QUIET, &same), 4)?;
        page.flush()?;
    }
    Ok(exit_code(end))
}

/// Ctrl-C reaches the command as well, for it is in the foreground with us; what else asks for the end is handed on.
fn hand_on(signals: &Signals, calls: &Calls) -> Result<(), Problem> {
    while let Some((signal, is_sent)) = signals.next_and_its_sender().map_err(Problem::while_doing("read signals"))? {
        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) || (signal == Signal::SIGINT && is_sent) {
            let _ = calls.signal(signal, &Recipients::All);
        }
    }
    Ok(())
}

/// The exit code that a shell gives for such an end: 128 and the signal, where it was one.
pub fn exit_code(end: End) -> ExitCode {
    let code = match end {
        End::Exited(code) => code,
        End::Killed(signal) => 128 + signal,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// A word as it would have to be typed.
pub fn shell_word(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
