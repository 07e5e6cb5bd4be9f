//! `socklab trace`: the calls of a command that concern sockets, as it makes them.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::decode::syscall;
use crate::event::{End, What, Who};
use crate::lens::calls::{Calls, News, Recipients};
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::sys::start::Start;
use crate::view::paint::{Page, QUIET, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::{Problem, run};

/// How many pieces of news may wait to be printed; then the program has to wait.
const WAITING: usize = 4096;
/// How long a call may take until its entry is shown by itself.
const SOON: Duration = Duration::from_millis(50);

/// Runs a command in the foreground, and tells its calls on standard error. The exit code is the command's own.
pub fn trace(command: &[OsString]) -> Result<ExitCode, Problem> {
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    process::adopt_orphans().map_err(Problem::while_doing("adopt orphans (prctl)"))?;
    let mut timeline = Timeline::on(Page::stderr(), None).in_microseconds();
    let (sender, news) = sync_channel(WAITING);
    let follow = Problem::while_doing("follow a program (ptrace)");
    let calls = Calls::new(Instant::now(), None, sender).map_err(&follow)?;
    let start = Start {
        command: command.to_vec(),
        environment: Vec::new(),
        stdio: [None, None, None],
        own_group: false,
        calls: syscall::numbers(),
    };
    let pid = calls.start("program", start).map_err(&follow)?;
    let mut end = End::Exited(0);
    loop {
        hand_on(&signals, &calls)?;
        match news.recv_timeout(SOON) {
            Ok(News::Event(event)) => {
                if let (Who::Program { pid: its, .. }, What::Ended(how)) = (&event.who, &event.what)
                    && *its == pid
                {
                    end = *how;
                }
                timeline.print(&event)?;
            }
            Ok(News::Refused { errno, .. }) => return Err(Problem::Told(run::not_started(command, errno))),
            Ok(News::Quiet) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => timeline.show_entered()?,
        }
    }
    let words: Vec<String> = command.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
    let page = timeline.page();
    page.line(&in_style(QUIET, &format!("the same from strace: strace -f -yy -e trace=network,read,write,close {}", words.join(" "))), 4)?;
    page.flush()?;
    Ok(exit_code(end))
}

/// Ctrl-C reaches the command as well, for it is in the foreground with us; what else asks for the end is handed on.
fn hand_on(signals: &Signals, calls: &Calls) -> Result<(), Problem> {
    while let Some(signal) = signals.next().map_err(Problem::while_doing("read signals"))? {
        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) {
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
