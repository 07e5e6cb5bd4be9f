//! Signals as something to read: they are held back and fetched from a descriptor, so that none interrupts anything.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{self, SigHandler, SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that this process has taken over: SIGINT, SIGTERM, SIGHUP and SIGCHLD.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Holds them back from now on. To be called before any other thread is started.
    pub fn take_over() -> io::Result<Self> {
        Self::take_over_with(&[])
    }

    /// The same with more signals.
    pub fn take_over_with(more: &[Signal]) -> io::Result<Self> {
        let always = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
        let taken = SigSet::from_iter(always.into_iter().chain(more.iter().copied()));
        taken.thread_block()?;
        let fd = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    /// The next signal that has come in, if any.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        Ok(self.next_and_its_sender()?.map(|(signal, _)| signal))
    }

    /// The next signal that has come in, if any, and whether a process has sent it with kill(2): then it was for us alone.
    /// Ctrl-C is the kernel's own doing, and for all in the foreground.
    pub fn next_and_its_sender(&self) -> io::Result<Option<(Signal, bool)>> {
        // sigaction(2): si_code is 0 or less where it was a process.
        let info = self.fd.read_signal()?;
        Ok(info.and_then(|info| Some((Signal::try_from(info.ssi_signo.cast_signed()).ok()?, info.ssi_code <= 0))))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a program start with no signal held back, and with none of those ignored that end it: it would inherit both, from us,
/// and from a shell that has started us in the background.
pub fn let_signals_through(command: &mut Command) -> &mut Command {
    let through = || {
        for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM] {
            // SAFETY: SIG_DFL is a valid disposition for each of these.
            unsafe { signal::signal(signal, SigHandler::SigDfl) }?;
        }
        Ok(SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: the closure runs between fork and exec, and makes async-signal-safe calls only: signal and pthread_sigmask.
    unsafe { command.pre_exec(through) }
}

/// Makes a program get SIGTERM when we end, however that comes about. To be started by the main thread: the kernel takes the
/// end of the thread that started it for ours.
pub fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: the closure runs between fork and exec, and makes one system call, prctl(2).
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?)) }
}

/// Stops this process, as Ctrl-Z does where nobody has taken that over; returns when it is continued.
pub fn stop_here() -> io::Result<()> {
    Ok(raise(Signal::SIGSTOP)?)
}
