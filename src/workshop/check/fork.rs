//! Checks of lab 3: a process for each client, who lets go of what, and who fetches whom.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::case::{Case, SOON, Step, pids_of};
use super::report::Kind;
use super::{Client, evidence};
use crate::sys::process::{self, Disposition, Member};

/// How many children end at the same moment.
const CHILDREN: usize = 8;
/// How long a server may take to end when it was asked to.
const END: Duration = Duration::from_secs(2);

pub fn concurrent(case: &mut Case) -> Step {
    case.start()?;
    let mut first = case.connect("the first connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    let mut second = case.connect("the second connects")?;
    case.echo(&mut second, b"hello\n", "echo, while the first is silent")?;
    let mut third = case.connect("the third connects")?;
    case.echo(&mut third, b"hello\n", "echo, while both are silent")?;
    case.echo(&mut first, b"still here\n", "echo for the first")
}

fn two_clients(case: &mut Case) -> Result<(Client, Client), super::case::Stopped> {
    let mut first = case.connect("the first connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    let mut second = case.connect("the second connects")?;
    case.echo(&mut second, b"hello\n", "echo")?;
    Ok((first, second))
}

pub fn process_each(case: &mut Case) -> Step {
    case.start()?;
    let (first, second) = two_clients(case)?;
    let main = case.main();
    // The parent may be about to close its copy.
    let differ = case.until(SOON, |case| {
        let (of_first, of_second) = (case.holders(&first)?, case.holders(&second)?);
        let is_one = |pid: &&u32| **pid != main;
        let each = of_first.iter().filter(is_one).any(|one| of_second.iter().filter(is_one).any(|other| one != other));
        Ok(each.then_some(()))
    })?;
    if differ.is_some() {
        return Ok(());
    }
    let (of_first, of_second) = (case.holders(&first)?, case.holders(&second)?);
    let seen = format!("the first is held by pid {of_first:?}, the second by pid {of_second:?}");
    let failure = case.fail(Kind::WrongState, "two processes, each with one of the two connections", seen);
    Err(failure.because(format!("pid {main} listens, and serves clients itself")))
}

pub fn child_killed(case: &mut Case) -> Step {
    case.start()?;
    let (first, mut second) = two_clients(case)?;
    let main = case.main();
    let (of_first, of_second) = (case.holders(&first)?, case.holders(&second)?);
    // Where the second child has inherited the first connection, too, the first child is the one that has only that.
    let others = || of_first.iter().filter(|&&pid| pid != main);
    let child = others().find(|pid| !of_second.contains(pid)).or(others().next());
    let Some(&child) = child else {
        return Err(case.fail(Kind::WrongState, "a child that serves the first client", "there is none").into());
    };
    case.signal(child, Signal::SIGKILL)?;
    case.until(SOON, |case| Ok(ended(&case.family(), child).then_some(())))?;
    case.done("the first client's process is killed");
    case.echo(&mut second, b"still here\n", "echo for the second")?;
    let mut third = case.connect("a third connects")?;
    case.echo(&mut third, b"hello\n", "echo")?;
    // Some end only when they come to look.
    let family = case.family();
    match family.iter().find(|member| member.pid == main).filter(|member| !member.is_zombie()) {
        Some(_) => Ok(()),
        None => Err(case.fail(Kind::Crashed, "the server to go on", "it has ended").into()),
    }
}

fn ended(family: &[Member], pid: u32) -> bool {
    family.iter().find(|member| member.pid == pid).is_none_or(Member::is_zombie)
}

pub fn lets_go(case: &mut Case) -> Step {
    case.start()?;
    let mut first = case.connect("connect")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    // Another one is there: its child was made while the first connection was open, and may have that, too.
    let mut second = case.connect("another client connects")?;
    case.until(Duration::from_millis(300), |case| {
        Ok(case.servers_end(&second)?.filter(|socket| !socket.waits_for_accept()).map(drop))
    })?;
    first.shutdown_write();
    case.done("client shutdown(WR)");
    case.expect_fin(&mut first, SOON, "FIN")?;
    // A parent that lets go of a connection when the next one comes still has the last one.
    second.shutdown_write();
    case.done("the other shutdown(WR)");
    case.expect_fin(&mut second, SOON, "FIN")
}

pub fn reaps(case: &mut Case) -> Step {
    case.start()?;
    let main = case.main();
    let before = pids_of(&case.family());
    let mut clients = Vec::new();
    for _ in 0..CHILDREN {
        let mut client = case.quietly(|case| case.connect("a client connects"))?;
        case.quietly(|case| case.echo(&mut client, b"hello\n", "echo"))?;
        clients.push(client);
    }
    case.done(format!("{CHILDREN} clients, each served"));
    let made = |family: &[Member]| -> Vec<Member> {
        family.iter().filter(|member| !before.contains(&member.pid)).copied().collect()
    };
    // All of them end while the parent is stopped: for all of them it gets one SIGCHLD.
    case.signal(main, Signal::SIGSTOP)?;
    case.until(SOON, |case| {
        Ok(case.family().iter().any(|its| its.pid == main && its.state.eq_ignore_ascii_case(&'t')).then_some(()))
    })?;
    clients.into_iter().for_each(Client::close);
    case.until(SOON, |case| Ok(made(&case.family()).iter().all(Member::is_zombie).then_some(())))?;
    case.signal(main, Signal::SIGCONT)?;
    case.done("all of them close at once");
    let gone = case.until(SOON, |case| Ok(made(&case.family()).is_empty().then_some(())))?;
    if gone.is_some() {
        case.done("all of them are fetched");
        // Whoever counts the children that are at work counts these no longer.
        let mut next = case.connect("another client connects")?;
        return case.echo(&mut next, b"hello\n", "echo");
    }
    let (zombies, running): (Vec<Member>, Vec<Member>) = made(&case.family()).into_iter().partition(Member::is_zombie);
    let expected = "every child to have ended and to be fetched, within 1 s";
    if let Some(first) = running.first() {
        let seen = format!("{} of them still run: pid {:?}", running.len(), pids_of(&running));
        let failure = case.fail(Kind::WrongState, expected, seen);
        return Err(failure.because(format!("the client of pid {} has gone, and it has not called _exit()", first.pid)));
    }
    let seen = format!("{} of {CHILDREN} are zombies: pid {:?}", zombies.len(), pids_of(&zombies));
    let failure = case.fail(Kind::WrongState, expected, seen);
    let some = zombies.len() < CHILDREN;
    Err(failure.because(if some {
        format!("the parent (pid {main}) has called waitpid() for some: one SIGCHLD may stand for many children")
    } else {
        format!("the parent (pid {main}) has not called waitpid() for them")
    }))
}

pub fn ends_all(case: &mut Case) -> Step {
    ends_by(case, Signal::SIGTERM)
}

/// To the server alone: Ctrl-C on a terminal would send it to its children as well.
pub fn ends_by_int(case: &mut Case) -> Step {
    ends_by(case, Signal::SIGINT)
}

fn ends_by(case: &mut Case, signal: Signal) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    let main = case.main();
    case.signal(main, signal)?;
    case.done(format!("{signal} to the server"));
    if case.until(END, |case| Ok(case.is_gone().then_some(())))?.is_some() {
        return Ok(());
    }
    let left: Vec<Member> = case.family().into_iter().filter(|member| !member.is_zombie()).collect();
    let seen = format!("{} of them still run: pid {:?}", left.len(), pids_of(&left));
    let disposition = process::disposition(main, signal);
    let main_runs = left.iter().any(|member| member.pid == main);
    let failure = case.fail(Kind::WrongState, "every process to have ended within 2 s", seen);
    Err(failure.because(match (main_runs, disposition) {
        (true, Some(Disposition::Ignored)) => format!("pid {main} ignores {signal} (SigIgn in /proc/{main}/status)"),
        (true, Some(Disposition::Held)) => format!("pid {main} holds {signal} back (SigBlk in /proc/{main}/status)"),
        (true, _) => format!("pid {main} has a handler for {signal}, and goes on"),
        (false, _) => {
            format!("the parent (pid {main}) has ended, and has sent its children no signal: {}", evidence::ORPHANS)
        }
    }))
}
