//! Checks of how a server goes on: after a reset, after many clients, after a signal, after its own end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::case::{Case, Failure, SOON, Step, Stopped};
use super::client::EndedBy;
use super::evidence;
use super::pour::{Pour, counted};
use super::report::Kind;
use crate::event::State;
use crate::sys::descriptor;
use crate::sys::process::{self, Member};

/// How many clients come and go.
const CLIENTS: usize = 20;
/// How long it may take until it listens again, where no more patience was asked for.
const AGAIN: Duration = Duration::from_secs(5);
/// The most that is sent to a server that does not wait for its client to read.
const MOST: usize = 16 * 1024 * 1024;
/// How long a server is watched that is to sleep on, and how often it is looked at.
const WATCHED: Duration = Duration::from_millis(2500);
const LOOK: Duration = Duration::from_millis(20);

pub fn reset(case: &mut Case) -> Step {
    case.start()?;
    let mut reading = case.connect("a client connects")?;
    case.echo(&mut reading, b"hello\n", "echo")?;
    reading.reset();
    case.done("it resets (RST)");
    let mut next = case.connect("the next one connects")?;
    case.echo(&mut next, b"hello\n", "echo")?;
    next.close();

    // And one that resets while the server is writing to it.
    let mut deaf = case.connect("a client connects that reads nothing")?;
    // Until the server cannot write any more, and so does not read any more, or for a while.
    let mut pour = Pour::of(case.something_long());
    case.pour(&mut deaf, &mut pour, MOST)?;
    deaf.reset();
    case.done("it resets while the server writes");
    let mut last = case.connect("the next one connects")?;
    case.echo(&mut last, b"hello\n", "echo")
}

/// What a server has at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Belongings {
    pub descriptors: usize,
    pub processes: usize,
    pub threads: u32,
}

pub fn belongings(case: &Case) -> Result<Belongings, Stopped> {
    let family = case.family();
    let running = family.iter().filter(|member| !member.is_zombie());
    Ok(Belongings {
        descriptors: case.descriptors()?.count(),
        processes: running.clone().count(),
        threads: running.map(|member| member.threads).sum(),
    })
}

/// As soon as they stay the same for a moment, and nobody is at work: a thread whose client has gone may be about to end.
pub fn at_rest(case: &mut Case) -> Result<Belongings, Stopped> {
    let mut before = belongings(case)?;
    for _ in 0..50 {
        case.wait(Duration::from_millis(20))?;
        let now = belongings(case)?;
        if now == before && !case.is_busy() {
            break;
        }
        before = now;
    }
    Ok(before)
}

/// Nothing happens, and the server sleeps until something does; a step. It is not at work, and does not wake up either, to look
/// and to sleep again: how often it has gone to sleep is counted by the kernel, however long it sleeps each time.
///
/// What it does each second anyway is left to it, and so is what a runtime's other threads do.
pub fn sleeps_on(case: &mut Case, step: &str, why: &str) -> Step {
    let main = case.main();
    until_all_wait(case)?;
    let before = process::times_asleep(main).unwrap_or_default();
    let (begun, mut awake, mut looks) = (Instant::now(), 0, 0);
    while begun.elapsed() < WATCHED {
        case.wait(LOOK)?;
        awake += usize::from(case.is_busy());
        looks += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    let woken = process::times_asleep(main).unwrap_or_default().saturating_sub(before);
    let seen = if awake * 2 > looks {
        format!("it was at work in {awake} of {looks} looks at it")
    } else if woken as f64 > 1.5 * took {
        format!("it woke up {woken} times in {took:.1} s")
    } else {
        case.done(step);
        return Ok(());
    };
    Err(case.fail(Kind::WrongState, "the server to sleep until something happens", seen).because(why))
}

/// Clients, one after the other, each of which is served.
pub fn come_and_go(case: &mut Case, count: usize, step: &str) -> Step {
    for _ in 0..count {
        let mut client = case.quietly(|case| case.connect("a client connects"))?;
        case.quietly(|case| case.echo(&mut client, b"hello\n", "echo"))?;
        client.close();
    }
    case.done(step);
    Ok(())
}

/// A monitor does this, and whoever scans ports.
fn look_in(case: &mut Case, count: usize, step: &str) -> Step {
    for _ in 0..count {
        case.quietly(|case| case.connect("a client connects"))?.close();
    }
    case.done(step);
    Ok(())
}

pub fn no_leak(case: &mut Case) -> Step {
    case.start()?;
    come_and_go(case, 2, "2 clients come and go")?;
    let before = at_rest(case)?;
    come_and_go(case, CLIENTS, "20 clients come and go")?;
    look_in(case, CLIENTS, "20 more come, say nothing, and go")?;
    // What is made once, and late, is no leak; what is made for each client is.
    let leaks = |now: Belongings| {
        let more = |now: usize, before: usize| now >= before + CLIENTS / 2;
        more(now.descriptors, before.descriptors)
            || more(now.processes, before.processes)
            || more(now.threads as usize, before.threads as usize)
    };
    // First it has to have dealt with all of them: who has not been accepted yet has cost nothing so far.
    case.until(SOON, |case| {
        let is_empty = case.listener()?.is_none_or(|listener| listener.receive_queue == 0);
        Ok((is_empty && !case.is_busy()).then_some(()))
    })?;
    at_rest(case)?;
    let gave_back = case.until(SOON, |case| Ok((!leaks(belongings(case)?)).then_some(())))?;
    if gave_back.is_some() {
        return Ok(());
    }
    let now = belongings(case)?;
    let in_words = |what: Belongings| {
        format!("{} descriptors, {} processes, {} threads", what.descriptors, what.processes, what.threads)
    };
    let most = case.descriptors()?.most();
    let failure = case.fail(Kind::WrongState, format!("as many as before: {}", in_words(before)), in_words(now));
    Err(match most {
        Some(most) if now.descriptors > before.descriptors => failure.because(most),
        _ => failure.because("for each client something was made that does not end with it"),
    })
}

pub fn restart(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    // Its end closes its side first; when the client closes, too, TIME-WAIT is left on the server's port.
    case.kill_all()?;
    case.done("the server is killed");
    let ended = case.until(SOON, |_| {
        client.listen();
        Ok(client.ended)
    })?;
    // With no time to linger nothing would be left on the port, and nothing asked.
    if let Some(EndedBy::Errno(errno)) = ended {
        let seen = format!("the connection broke: {errno:?} ({})", errno.desc());
        let failure = case.fail(Kind::WrongState, "a FIN when the server is killed: it has read all that came", seen);
        return Err(failure.because(
            "its end of the connection is given up with a RST: SO_LINGER with no time to linger leaves no TIME-WAIT, and \
             throws away what the client has not got yet",
        ));
    }
    client.close();
    let port = case.port();
    let left_over = case.until(SOON, |case| {
        let is_it = |state: State, local: Option<u16>| state == State::TimeWait && local == Some(port);
        Ok(case.sockets()?.iter().any(|socket| is_it(socket.state, socket.local.port())).then_some(()))
    })?;
    case.done(if left_over.is_some() { "TIME-WAIT on its port" } else { "nothing is left on its port" });
    match case.start_again(case.patience().max(AGAIN)) {
        Ok(()) => case.done("start and listen again"),
        Err(Stopped::Failed(failure)) if failure.kind != Kind::WrongState => {
            return Err(not_again(case, *failure, left_over.is_some()));
        }
        Err(other) => return Err(other),
    }
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")
}

/// Why it does not listen again. That bind() was refused is said where that was seen: in its calls or in what it printed. What
/// else has kept it is its own affair: a slow start, a crash, a file that it has left behind.
fn not_again(case: &mut Case, failure: Failure, is_left_over: bool) -> Stopped {
    let expected = format!("it to listen on port {} again", case.port());
    let is_refusal = |line: &String| {
        let line = line.to_lowercase();
        line.contains("eaddrinuse") || line.contains("address already in use")
    };
    if case.was_refused("EADDRINUSE") || case.printed_since(0).0.iter().any(is_refusal) {
        let why = "SO_REUSEADDR was not set before bind(): without it bind() says EADDRINUSE as long as the kernel holds any \
                   connection of the port";
        return Box::new(Failure { kind: Kind::NeverListened, expected, why: None, ..failure }).because(why);
    }
    let is_seen = failure.calls.is_some();
    let failure = Box::new(Failure { expected, ..failure });
    match case.listener() {
        Ok(None) if is_left_over && !is_seen => failure.because(
            "its calls cannot be seen here; TIME-WAIT is left on its port, and where SO_REUSEADDR was not set before \
             bind(), that says EADDRINUSE",
        ),
        _ => failure.into(),
    }
}

/// A call that a signal interrupts returns EINTR only where the program has a handler for it; or, signal(7), when the socket
/// has a time limit and the process is stopped and continued: that can be done to any program.
pub fn interrupted(case: &mut Case) -> Step {
    case.start()?;
    give_time_limit_to_listener(case)?;
    // A call that has begun is not concerned: accept() has to be called anew.
    let mut first = case.connect("a client connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    first.close();
    let mut pids: BTreeSet<u32> = case.family().iter().map(|member| member.pid).collect();
    stop_and_continue(case, &pids, "accept() is interrupted (EINTR)")?;
    let mut second = case.connect("the next one connects")?;
    case.echo(&mut second, b"hello\n", "echo")?;

    let socket = case.servers_end(&second)?;
    let owner = socket.and_then(|socket| socket.owners.first().cloned());
    if let Some(owner) = &owner {
        give_time_limit(owner.pid, owner.fd)?;
    }
    case.echo(&mut second, b"once more\n", "echo")?;
    // Without a time limit no call of it would be interrupted, and there would be nothing to pass.
    if owner.is_none() {
        return Err(Stopped::NotJudged("the connection's owner may not be known".into()));
    }
    pids.extend(case.family().iter().map(|member| member.pid));
    stop_and_continue(case, &pids, "read() is interrupted (EINTR)")?;
    case.echo(&mut second, b"still there?\n", "echo")?;
    second.close();
    let mut last = case.connect("the next one connects")?;
    case.echo(&mut last, b"hello\n", "echo")
}

/// A write() that sleeps is woken by a signal, any signal, and says then how much it has taken. The rest is not yet written.
pub fn short_write(case: &mut Case) -> Step {
    case.start()?;
    for round in 1..=3 {
        let mut client = case.connect("a client connects")?;
        // Another length each time: where the buffers end within what is written is up to the kernel.
        case.echo(&mut client, &vec![b'x'; 7777 * round], "echo")?;
        let mut pour = Pour::of(counted(MOST));
        case.pour(&mut client, &mut pour, MOST)?;
        case.done(format!("it writes and does not read: after {} bytes it has to wait", pour.written));
        let pids: BTreeSet<u32> = case.family().iter().map(|member| member.pid).collect();
        stop_and_continue(case, &pids, "write() is interrupted")?;
        client.shutdown_write();
        let sent = pour.written;
        case.collect(&mut client, &mut pour, sent, "it reads: all that it sent comes back")?;
    }
    Ok(())
}

fn give_time_limit_to_listener(case: &mut Case) -> Step {
    let sockets = case.sockets_and_owners()?;
    let listener = sockets.iter().find(|socket| socket.is_listening());
    let owner = listener.and_then(|socket| socket.owners.first().cloned());
    match owner {
        Some(owner) => give_time_limit(owner.pid, owner.fd),
        None => Err(Stopped::NotJudged("the listening socket's owner may not be known".into())),
    }
}

/// An hour: nothing but that its calls return EINTR where they otherwise would be begun anew by the kernel.
fn give_time_limit(pid: u32, fd: u32) -> Step {
    let copied = descriptor::copy_of(pid, fd.cast_signed());
    let set = copied.and_then(|socket| Ok(setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(3600))?));
    set.map_err(|error| {
        let error = crate::sys::with_name(&error);
        Stopped::NotJudged(format!("the sockets of pid {pid} may not be touched (pidfd_getfd: {error})"))
    })
}

fn stop_and_continue(case: &mut Case, pids: &BTreeSet<u32>, step: &str) -> Step {
    // In the call, and not on the way to it.
    until_all_wait(case)?;
    for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
        pids.iter().try_for_each(|&pid| case.signal(pid, signal))?;
        let is_stopped = |state: char| matches!(state, 'T' | 't');
        case.until(SOON, |case| {
            // A zombie is neither stopped nor continued any more.
            let family: Vec<Member> = case.family().into_iter().filter(|member| !member.is_zombie()).collect();
            let stopped = family.iter().filter(|member| is_stopped(member.state)).count();
            let wanted = if signal == Signal::SIGSTOP { family.len() } else { 0 };
            Ok((stopped == wanted).then_some(()))
        })?;
    }
    // What it makes of that is done before the next byte comes: a connection given up now ends with a FIN, one given up with a
    // byte unread with a RST.
    until_all_wait(case)?;
    if case.is_gone() {
        let expected = "the server to go on when it was stopped and continued";
        let failure = case.fail(Kind::Crashed, expected, "it has ended");
        return Err(failure.because(evidence::EINTR));
    }
    case.done(step);
    Ok(())
}

/// Until every process of the server sleeps, or for a second.
fn until_all_wait(case: &mut Case) -> Step {
    case.until(SOON, |case| Ok(case.family().iter().all(|member| !member.is_busy()).then_some(())))?;
    Ok(())
}
