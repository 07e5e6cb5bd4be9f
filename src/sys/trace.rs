//! Following processes call by call: ptrace(2), with a seccomp(2) filter so that only the calls of interest stop.
//!
//! All of it belongs to one thread: the kernel answers ptrace requests only to the thread that follows the process.

use std::io::{self, Read};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{getpid, gettid};

use crate::event::End;

/// What the kernel is to report of each process, and of everyone that it makes. EXITKILL ends them all if this thread ends,
/// however it does: nobody is left behind.
const OPTIONS: i32 = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACESYSGOOD;

/// `PTRACE_EVENT_STOP` (`linux/ptrace.h`); the libc crate does not have it everywhere.
const EVENT_STOP: i32 = 128;

/// A thread has stopped and waits to be let go on, or is no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Its thread id; that of a process's first thread is the process id.
    pub thread: u32,
    /// Why.
    pub why: Why,
}

/// Why a thread has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It enters a call of interest. To go on with [`until_return`], or with [`go_on`] if the return is of no interest.
    Enters,
    /// The call that it had entered returns.
    Returns,
    /// It has made a process or a thread, whose first stop is [`Why::Begins`]; before or after this one.
    Forks,
    /// It runs another program from now on.
    Executes,
    /// It was made by a process that is followed, and is about to begin.
    Begins,
    /// It is about to be sent this signal; [`go_on`] with it, or it will not get it.
    Signal(i32),
    /// The whole process was stopped by a signal, as Ctrl-Z does it. To go on with [`stay_stopped`].
    GroupStop,
    /// It has ended.
    Ended(End),
}

/// A call as it is entered: which one, and the six words that hold its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number, in this architecture's own numbering.
    pub number: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Begins to follow a process, which must be held by something else meanwhile: following does not stop it.
///
/// EPERM where Yama or a container's seccomp profile forbids it, or where somebody else follows it already.
pub fn follow(pid: u32) -> io::Result<()> {
    // SAFETY: PTRACE_SEIZE takes the options as a number and touches no memory of ours.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE as _,
            pid.cast_signed(),
            std::ptr::null_mut::<libc::c_void>(),
            OPTIONS as usize as *mut libc::c_void,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// Waits until somebody stops or ends. `None` when a signal came in between; ECHILD when there is nobody left.
pub fn wait() -> io::Result<Option<Stopped>> {
    let mut status = 0;
    // SAFETY: waitpid writes one int to the pointer, which points to one that lives through the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    match Errno::result(pid) {
        Ok(pid) => Ok(Some(Stopped { thread: pid.cast_unsigned(), why: reason(status) })),
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Why it stopped, from the status that waitpid(2) gives (ptrace(2), "Stopped states").
fn reason(status: i32) -> Why {
    if libc::WIFEXITED(status) {
        return Why::Ended(End::Exited(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return Why::Ended(End::Killed(libc::WTERMSIG(status)));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        libc::PTRACE_EVENT_SECCOMP => Why::Enters,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => Why::Forks,
        libc::PTRACE_EVENT_EXEC => Why::Executes,
        EVENT_STOP if signal == libc::SIGTRAP => Why::Begins,
        EVENT_STOP => Why::GroupStop,
        // TRACESYSGOOD marks the return of a call with this bit.
        _ if signal == libc::SIGTRAP | 0x80 => Why::Returns,
        _ => Why::Signal(signal),
    }
}

/// Lets a thread go on until the next call of interest, with a signal or with none (0).
pub fn go_on(thread: u32, signal: i32) {
    resume(libc::PTRACE_CONT as _, thread, signal);
}

/// Lets a thread that [enters](Why::Enters) a call go on until the call returns.
pub fn until_return(thread: u32) {
    resume(libc::PTRACE_SYSCALL as _, thread, 0);
}

/// Leaves a thread stopped as the signal wanted it, and still hears of it when it is continued.
pub fn stay_stopped(thread: u32) {
    resume(libc::PTRACE_LISTEN as _, thread, 0);
}

/// The one error there is, ESRCH, means that it was killed meanwhile; its end is reported by the next [`wait`].
fn resume(request: libc::c_uint, thread: u32, signal: i32) {
    // SAFETY: these requests take a number in place of the last pointer and touch no memory of ours.
    unsafe {
        libc::ptrace(
            request as _,
            thread.cast_signed(),
            std::ptr::null_mut::<libc::c_void>(),
            signal as usize as *mut libc::c_void,
        );
    }
}

/// The thread or process that a thread has made, after [`Why::Forks`]; before [`Why::Executes`], the id that it had until then.
pub fn message(thread: u32) -> io::Result<u32> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: PTRACE_GETEVENTMSG writes one unsigned long to the pointer, which points to one that lives through the call.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETEVENTMSG as _,
            thread.cast_signed(),
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut message,
        )
    };
    Errno::result(result)?;
    Ok(message as u32)
}

/// The call that a thread [enters](Why::Enters).
pub fn entry(thread: u32) -> io::Result<Entry> {
    let info = call_info(thread)?;
    let word = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&info[24 + 8 * index..32 + 8 * index]);
        u64::from_ne_bytes(word)
    };
    Ok(Entry { number: word(0), arguments: [word(1), word(2), word(3), word(4), word(5), word(6)] })
}

/// What the call that [returns](Why::Returns) gives back; an error is minus its number.
pub fn returned(thread: u32) -> io::Result<i64> {
    let info = call_info(thread)?;
    let mut value = [0; 8];
    value.copy_from_slice(&info[24..32]);
    Ok(i64::from_ne_bytes(value))
}

/// `struct ptrace_syscall_info` (ptrace(2)): 24 bytes that say what it is about, then its number and arguments, or its value.
fn call_info(thread: u32) -> io::Result<[u8; 88]> {
    let mut info = [0u8; 88];
    let size = info.len() as *mut libc::c_void;
    // SAFETY: PTRACE_GET_SYSCALL_INFO writes at most as many bytes as its third argument says, which is the size of the
    // array that the fourth points to.
    let result = unsafe { libc::ptrace(0x420e, thread.cast_signed(), size, info.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(info)
}

/// Reads memory of a stopped process; says how many bytes could be read, which are fewer where its memory ends.
pub fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> usize {
    let ours = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let theirs = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the kernel writes to our memory only within `ours`, which describes `into`; `theirs` is an address of the
    // other process, which the kernel checks.
    let read = unsafe { libc::process_vm_readv(pid.cast_signed(), &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(read).unwrap_or(0)
}

/// Whether a process may be followed at all here: tries it on one that is made for that.
///
/// To be called while this process has a single thread.
pub fn try_it() -> io::Result<()> {
    let (mut until, alive) = io::pipe()?;
    // SAFETY: this process has one thread (the caller's duty), so that the child may do all that it could.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            drop(alive);
            // The end of file comes when this process ends, however it does: the child is not left behind.
            let _ = until.read(&mut [0]);
            // SAFETY: _exit ends this process at once, without what belongs to its parent.
            unsafe { libc::_exit(0) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let followed = follow(child.as_raw().cast_unsigned());
            let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
            let _ = nix::sys::wait::waitpid(child, None);
            drop(alive);
            followed
        }
    }
}

/// The filter that stops at these calls and lets all others pass, as classic BPF (`linux/filter.h`).
///
/// A program for another architecture (32-bit code on a 64-bit machine) passes unseen: its calls have other numbers.
pub fn filter(calls: &[u64]) -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // Where `struct seccomp_data` has the call's number and the architecture.
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    let step = |code, yes, no, k| libc::sock_filter { code, jt: yes, jf: no, k };
    let mut program = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(JUMP_IF_EQUAL, 1, 0, NATIVE),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, NUMBER),
    ];
    for (index, &call) in calls.iter().enumerate() {
        // Over the comparisons that are left, and over the instruction that lets pass.
        let to_trace = (calls.len() - index) as u8;
        program.push(step(JUMP_IF_EQUAL, to_trace, 0, call as u32));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_TRACE));
    program
}

/// `AUDIT_ARCH_…` of this machine (`linux/audit.h`).
const NATIVE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else if cfg!(target_arch = "riscv64") {
    0xc000_00f3
} else {
    0
};

/// Puts this process, which is about to execute a program, under a [filter]. Its children inherit it.
///
/// Where it must (user_namespaces(7): who is not privileged), it gives up to gain rights by executing a program; root does
/// not, so that sudo and the like work for root as ever.
///
/// Async-signal-safe: at most three system calls.
pub(super) fn submit_to(filter: &[libc::sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let install = || {
        // SAFETY: the kernel copies the program that `program` describes, which lives through the call, and does not write
        // to it.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
        Errno::result(result).map(drop)
    };
    match install() {
        Err(Errno::EACCES) => {}
        result => return result,
    }
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    install()
}

/// A way to make the thread that [waits](wait) look up, from another thread.
#[derive(Clone, Copy, Debug)]
pub struct Knock(libc::pid_t);

impl Knock {
    /// On the door of this thread. From now on SIGUSR2 does nothing in this process but to interrupt a call.
    pub fn here() -> io::Result<Self> {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a zeroed sigaction is a valid one, without flags and with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: the handler does nothing, which is async-signal-safe; without SA_RESTART, waitpid returns EINTR.
        let result = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()) };
        Errno::result(result)?;
        Ok(Self(gettid().as_raw()))
    }

    /// Knocks. A knock that comes just before the thread begins to wait goes unheard: knock again until it has answered.
    ///
    /// When the thread is no more, nothing happens.
    pub fn knock(self) {
        let this_process = getpid().as_raw();
        // SAFETY: tgkill takes three numbers. A thread of this process, or none at all, gets a signal that has a handler.
        unsafe {
            libc::syscall(libc::SYS_tgkill, this_process, self.0, libc::SIGUSR2);
        }
    }
}

/// How long to wait for an answer to a knock before the next one.
pub const PATIENCE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter answers: the steps that `filter` makes, done by hand.
    fn answer(program: &[libc::sock_filter], architecture: u32, number: u32) -> u32 {
        let mut accumulator = 0;
        let mut next = 0;
        loop {
            let step = program[next];
            next += 1;
            match step.code {
                0x20 => accumulator = if step.k == 0 { number } else { architecture },
                0x15 => next += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn the_filter_stops_at_the_calls_that_it_was_made_for_and_at_no_other() {
        let program = filter(&[41, 42, 288]);
        for number in 0..512 {
            let expected =
                if [41, 42, 288].contains(&number) { libc::SECCOMP_RET_TRACE } else { libc::SECCOMP_RET_ALLOW };
            assert_eq!(answer(&program, NATIVE, number), expected, "{number}");
            assert_eq!(answer(&program, 0x4000_0003, number), libc::SECCOMP_RET_ALLOW, "32-bit {number}");
        }
    }

    #[test]
    fn a_wait_status_says_why_it_stopped() {
        assert_eq!(reason(0), Why::Ended(End::Exited(0)));
        assert_eq!(reason(3 << 8), Why::Ended(End::Exited(3)));
        assert_eq!(reason(9), Why::Ended(End::Killed(9)));
        let stop = |signal: i32, event: i32| event << 16 | signal << 8 | 0x7f;
        assert_eq!(reason(stop(5, libc::PTRACE_EVENT_SECCOMP)), Why::Enters);
        assert_eq!(reason(stop(5 | 0x80, 0)), Why::Returns);
        assert_eq!(reason(stop(5, EVENT_STOP)), Why::Begins);
        assert_eq!(reason(stop(19, EVENT_STOP)), Why::GroupStop);
        assert_eq!(reason(stop(15, 0)), Why::Signal(15));
        assert_eq!(reason(stop(40, 0)), Why::Signal(40), "real-time signals have no names");
    }
}
