//! Checks of labs 5 and 6: one thread for all clients, which sleeps only while nobody is ready.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::case::{Case, SOON, Step, Stopped};
use super::pour::{Pour, Poured, counted};
use super::report::Kind;
use super::{Client, evidence, life};
use crate::sys::process;
use crate::workshop::Problem;

/// How many clients are there at once, where it is about one thread for all of them, and where it is about many.
const SOME: usize = 5;
const MANY: usize = 300;
/// How much comes back: more than all buffers between the two hold.
const MUCH: usize = 12 * 1024 * 1024;
/// How much a server may take from a client that reads nothing. The kernel's own buffers are part of it.
const BOUND: usize = 64 * 1024 * 1024;
/// How much a server may keep of what a client does not take: more than one read brings, in whatever runtime.
const KEPT: usize = 2 * 1024 * 1024;
/// How often a client says something to a server that may be slow, and how long the quickest of the answers may take.
const TRIES: usize = 5;
const AT_ONCE: Duration = Duration::from_millis(250);
/// How often a server may wake in the time in which it is watched: for its runtime's sake, and for the end of a client's time.
const FEW: u64 = 5;
/// How long a server is watched that has nothing to do, and how often it is looked at.
const WATCHED: Duration = Duration::from_millis(1000);
const LOOK: Duration = Duration::from_millis(20);
/// The time limit in the exercise's command line.
const LIMIT: Duration = Duration::from_secs(1);
/// How often it is tried when we are late with a client.
const ROUNDS: usize = 5;
/// What is expected of a server with that limit.
const SILENT_ONE: &str = "a FIN for the one that is silent, after 1 s";

/// A runtime may have threads of its own, for its memory or for names, and make them late. What is made for a client, and who
/// serves it, is another matter: with more clients there are no more of them, and one process has all connections.
pub fn one_thread(case: &mut Case) -> Step {
    case.start()?;
    life::come_and_go(case, 2, "2 clients come and go")?;
    let before = life::at_rest(case)?;
    let mut clients = Vec::new();
    for _ in 0..SOME {
        let mut client = case.quietly(|case| case.connect("a client connects"))?;
        case.quietly(|case| case.echo(&mut client, b"hello\n", "echo"))?;
        clients.push(client);
    }
    case.done("5 clients, each served");
    let now = life::belongings(case)?;
    let expected = "one process with one thread for 5 clients";
    if now.processes > before.processes || now.threads > before.threads {
        let seen = format!("there are {} with them, and {} without", in_words(now), in_words(before));
        return Err(case.fail(Kind::WrongState, expected, seen).into());
    }
    let mut holders = BTreeSet::new();
    for client in &clients {
        holders.extend(case.holders(client)?);
    }
    if holders.len() > 1 {
        let seen = format!("pid {holders:?} have their connections");
        return Err(case.fail(Kind::WrongState, expected, seen).into());
    }
    let readers = case.readers();
    if readers.len() > 1 {
        let seen = format!("what they say is read by threads {readers:?}");
        return Err(case.fail(Kind::WrongState, expected, seen).into());
    }
    Ok(())
}

fn in_words(what: life::Belongings) -> String {
    format!("{} processes with {} threads", what.processes, what.threads)
}

/// Why a server is at work while a client does not read.
const UNTIL_THERE_IS_ROOM: &str = "it tries to write again and again, or is woken by bytes that it does not read: until there is \
                                   room, that is all that it should ask for (POLLOUT, without POLLIN)";

pub fn all_bytes(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    let mut pour = Pour::of(counted(MUCH));
    wait_for_room(case, &mut client, &mut pour)?;
    rests(case, "it does not read", UNTIL_THERE_IS_ROOM)?;
    case.collect(&mut client, &mut pour, MUCH, "it reads: all 12 MiB come back")?;
    client.shutdown_write();
    case.expect_fin(&mut client, SOON, "client shutdown(WR), FIN")?;

    // And one that has finished before it has read anything.
    let mut client = case.connect("another one connects")?;
    let mut pour = Pour::of(counted(MUCH));
    wait_for_room(case, &mut client, &mut pour)?;
    client.shutdown_write();
    case.done("client shutdown(WR)");
    let sent = pour.written;
    case.collect(&mut client, &mut pour, sent, "it reads: all that it sent comes back")?;
    case.expect_fin(&mut client, SOON, "FIN")?;
    all_of_the_last_piece(case)
}

/// What the server has read last, and could not write: nothing more comes from the client that would wake it for that.
fn all_of_the_last_piece(case: &mut Case) -> Step {
    let mut client = case.connect("a third one connects")?;
    let mut pour = Pour::of(counted(MUCH));
    let kept = case.pour_until_kept(&mut client, &mut pour, MUCH)?;
    let sent = pour.written;
    case.done(match kept {
        Some(kept) => format!("it writes {sent} bytes: the server has read all of them, and keeps {kept}"),
        None => format!("it writes {sent} bytes, piece by piece"),
    });
    let collected =
        case.collect(&mut client, &mut pour, sent, "it reads, and writes no more: the last piece comes, too");
    match collected {
        Err(Stopped::Failed(mut failure)) if kept.is_some() && failure.kind == Kind::TimedOut => {
            let why = "what it could not write it keeps, and nothing wakes it when there is room: it has to ask for that (POLLOUT)";
            failure.why = Some(why.into());
            Err(Stopped::Failed(failure))
        }
        other => other,
    }
}

fn wait_for_room(case: &mut Case, client: &mut Client, pour: &mut Pour) -> Step {
    match case.pour(client, pour, MUCH)? {
        Poured::Stuck => case.done(format!("it writes and does not read: after {} bytes it has to wait", pour.written)),
        Poured::Through => case.done("it writes 12 MiB and does not read"),
        Poured::Broken(errno) => {
            let seen = format!("after {} bytes write() said {errno:?} ({})", pour.written, errno.desc());
            let failure = case.fail(Kind::WrongState, "a client that does not read to have to wait", seen);
            return Err(failure.because("a send buffer that is full is no failure: write() says EAGAIN, or takes less"));
        }
    }
    Ok(())
}

/// How often of all times that it was looked at a process was not asleep. One that never sleeps is always found so, however
/// few of the processors' time it gets.
fn awake(case: &mut Case) -> Step<(usize, usize)> {
    let (begun, mut awake, mut all) = (Instant::now(), 0, 0);
    while begun.elapsed() < WATCHED || all < 25 {
        case.wait(LOOK)?;
        awake += usize::from(case.family().iter().any(process::Member::is_busy));
        all += 1;
    }
    Ok((awake, all))
}

/// Nobody says anything, and the server does nothing; a step.
fn rests(case: &mut Case, step: &str, why: &str) -> Step {
    let before: u64 = case.family().iter().map(|member| member.ticks).sum();
    let (awake, all) = awake(case)?;
    if awake * 2 <= all {
        case.done(step);
        return Ok(());
    }
    // Less than before where one of its processes has ended meanwhile.
    let ticks = case.family().iter().map(|member| member.ticks).sum::<u64>().saturating_sub(before);
    let seen = format!("it was at work in {awake} of {all} looks at it, and took {} ms of a processor", ticks * 10);
    Err(case.fail(Kind::WrongState, format!("{step}: the server to sleep"), seen).because(why))
}

/// A client that others may keep waiting says something, and again as soon as it has the answer; a step. A machine that has
/// much to do makes some of the answers late; all of them are where the server sleeps each time before it comes to this client.
pub fn is_served_at_once(case: &mut Case, client: &mut Client, step: &str, why: &str) -> Step {
    // Not counted: this one may come when the server is about to wake.
    case.echo(client, b"still here\n", step)?;
    let mut quickest = Duration::MAX;
    for _ in 0..TRIES {
        let begun = Instant::now();
        case.quietly(|case| case.echo(client, b"and still here\n", step))?;
        quickest = quickest.min(begun.elapsed());
        if quickest < AT_ONCE {
            return Ok(());
        }
    }
    Err(too_late(case, &format!("{step}, {TRIES} times one after the other"), quickest, why))
}

/// The same of a server that sleeps once for each new client that does not read, with a time limit (`SO_SNDTIMEO`), and then
/// leaves it alone: more of them come, and each time somebody else says something as soon as the server cannot write to the new
/// one.
pub fn is_served_beside_new_ones(case: &mut Case, client: &mut Client, step: &str, why: &str) -> Step {
    let (mut deaf, mut quickest) = (Vec::new(), Duration::MAX);
    for _ in 0..TRIES {
        let mut next = case.quietly(|case| case.connect("another one connects that does not read"))?;
        let mut pour = Pour::of(case.something_long());
        case.pour_until_kept(&mut next, &mut pour, MUCH)?;
        deaf.push(next);
        let begun = Instant::now();
        case.quietly(|case| case.echo(client, b"and now?\n", step))?;
        quickest = quickest.min(begun.elapsed());
        if quickest < AT_ONCE {
            case.done(step);
            return Ok(());
        }
    }
    Err(too_late(case, &format!("{step}, {TRIES} times"), quickest, why))
}

fn too_late(case: &mut Case, what: &str, quickest: Duration, why: &str) -> Stopped {
    let expected = format!("{what}: the quickest within {} ms", AT_ONCE.as_millis());
    let failure = case.fail(Kind::TimedOut, expected, format!("it took {} ms", quickest.as_millis()));
    failure.because(why)
}

pub fn idle(case: &mut Case) -> Step {
    case.start()?;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = case.quietly(|case| case.connect("a client connects"))?;
        case.quietly(|case| case.echo(&mut client, b"hello\n", "echo"))?;
        clients.push(client);
    }
    case.done("3 clients, each served");
    let why = "the call that should wait returns at once: it is asked about something that is always so, such as room \
               for writing";
    rests(case, "they say nothing", why)
}

pub fn many(case: &mut Case) -> Step {
    case.start()?;
    let mut clients = Vec::new();
    for count in 1..=MANY {
        clients.push(case.quietly(|case| case.connect(&format!("client {count} of {MANY} connects")))?);
    }
    case.done(format!("{MANY} clients connect"));
    // All at once, and from the last to the first: nobody's turn depends on another's.
    for (number, client) in clients.iter_mut().enumerate().rev() {
        let _ = client.write(format!("I am number {number}\n").as_bytes());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let wanted = format!("I am number {number}\n");
        case.quietly(|case| case.exchange(client, b"", wanted.as_bytes(), &format!("echo for client {}", number + 1)))?;
    }
    case.done("each of them says something, and gets it back");
    Ok(())
}

pub fn back_pressure(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    let mut pour = Pour::of(case.something_long());
    let poured = case.pour(&mut client, &mut pour, BOUND)?;
    let expected = "a client that writes and does not read to have to wait";
    match poured {
        Poured::Stuck => case.done(format!("it writes and does not read: after {} bytes it has to wait", pour.written)),
        Poured::Through => {
            let main = case.main();
            let why = match process::memory(main) {
                Some(kib) => {
                    format!("it reads what it cannot write back, and keeps it: pid {main} has {kib} KiB of its own")
                }
                None => "it reads what it cannot write back".into(),
            };
            return Err(case.fail(Kind::WrongState, expected, "the server took 64 MiB from it").because(why));
        }
        Poured::Broken(errno) => {
            let seen = format!("after {} bytes write() said {errno:?} ({})", pour.written, errno.desc());
            return Err(case.fail(Kind::WrongState, expected, seen).into());
        }
    }
    let found = case.whereabouts(&client, &pour)?;
    if let Some(kept) = found.map(|found| found.kept).filter(|&kept| kept > KEPT) {
        let seen = format!("the server itself has {kept} bytes of it, which are in no Send-Q and no Recv-Q");
        let failure =
            case.fail(Kind::WrongState, format!("{expected}, as soon as the kernel's buffers are full"), seen);
        return Err(failure.because("it reads what it cannot write back, and keeps it"));
    }
    if found.is_some_and(|found| found.unread > 0) {
        case.done("its bytes wait in the server's Recv-Q");
    }
    rests(case, "it does not read", UNTIL_THERE_IS_ROOM)?;
    let sent = pour.written;
    let mut got = 0;
    while got < sent {
        let more = case.until(SOON, |_| {
            client.listen();
            Ok((!client.received.is_empty()).then_some(()))
        })?;
        if more.is_none() {
            let socket = case.servers_end(&client)?;
            let seen = format!("after {got} of {sent} bytes no more came");
            let failure = case.fail(Kind::TimedOut, "when it reads at last, all of it to come back", seen);
            return Err(failure.because(evidence::why_not_served(socket.as_ref(), case.main())));
        }
        got += client.take(usize::MAX).len();
    }
    case.done("it reads at last, and all of it comes back");
    Ok(())
}

/// As many clients as the server has descriptors for, and one more.
pub fn emfile(case: &mut Case) -> Step {
    case.start()?;
    let mut first = case.connect("a client connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    let main = case.main();
    let limit = case.descriptors()?.highest(main) + 1 + 2;
    process::limit_descriptors(main, limit.into())
        .map_err(Problem::while_doing("lower the server's limit (prlimit)"))?;
    case.done(format!("its limit is lowered to {limit} descriptors"));
    // There may be holes below.
    let mut others = Vec::new();
    for _ in 0..case.descriptors()?.free_below(main, limit) {
        let mut other = case.quietly(|case| case.connect("another one connects"))?;
        case.quietly(|case| case.echo(&mut other, b"hello\n", "echo"))?;
        others.push(other);
    }
    case.done("others connect until none is left");
    let mut last = case.connect("one more connects")?;
    let words = b"let me in\n";
    let _ = last.write(words);
    let why =
        "accept() says EMFILE at once, and the listening socket stays ready: it must not be asked again and again";
    rests(case, "it waits", why)?;
    let why = "it sleeps where nobody can wake it: who is there already has to wait for one who is not";
    is_served_at_once(case, &mut first, "echo for the first", why)?;
    last.listen();
    if last.ended.is_some() {
        // It comes again when there is room.
        case.done("it was turned away");
        first.shutdown_write();
        case.expect_fin(&mut first, SOON, "the first shutdown(WR), FIN")?;
        case.until(SOON, |case| Ok((case.descriptors()?.free_below(main, limit) > 0).then_some(())))?;
        last = case.connect("it comes again")?;
        let _ = last.write(words);
    }
    first.close();
    // A server may look only now and then whether a descriptor is free again.
    let served = case.until(SOON * 3, |_| {
        last.listen();
        Ok((last.received.len() >= words.len() || last.ended.is_some()).then_some(()))
    })?;
    if served.is_none() {
        let socket = case.servers_end(&last)?;
        let seen = "it was not served within 3 s";
        let failure = case.fail(Kind::TimedOut, "when the first has gone, the last one to be served", seen);
        return Err(failure.because(evidence::why_not_served(socket.as_ref(), main)));
    }
    case.exchange(&mut last, b"", words, "the first closes, the last one is served")
}

/// A client of a server with a time limit.
struct Speaker {
    client: Client,
    /// When it began to say what it has said last, or to connect. The server has heard of it since then.
    since: Instant,
}

impl Speaker {
    fn connect(case: &mut Case, step: &str) -> Step<Self> {
        let since = Instant::now();
        Ok(Self { client: case.connect(step)?, since })
    }

    /// Says something and expects it back; a step. `None` where it was let go and had not said anything for so long, as far as
    /// the server can know: then it was we, or this machine, who were late, and the server may be right.
    fn speak(&mut self, case: &mut Case, step: &str) -> Step<Option<()>> {
        let begun = Instant::now();
        match case.echo(&mut self.client, b"still here\n", step) {
            Ok(()) => {
                self.since = begun;
                Ok(Some(()))
            }
            Err(Stopped::Failed(failure))
                if failure.kind != Kind::Crashed && self.client.ended.is_some() && self.since.elapsed() >= LIMIT =>
            {
                Ok(None)
            }
            Err(stopped) => Err(stopped),
        }
    }
}

/// Lab 5 with `--time-out 1`.
pub fn time_out(case: &mut Case) -> Step {
    case.start()?;
    sleeps_meanwhile(case)?;
    let mut rounds = 1;
    while case.quietly(one_is_silent)?.is_none() {
        if rounds == ROUNDS {
            let why =
                format!("{rounds} times this machine left a client waiting for a second that had something to say");
            return Err(Stopped::NotJudged(why));
        }
        rounds += 1;
    }
    case.done("one client speaks all the time, another one falls silent; FIN for that one after 1 s");
    let said = Instant::now();
    let mut third = case.connect("a third connects, and says nothing")?;
    case.wait(LIMIT / 2)?;
    third.listen();
    if third.ended.is_some() && said.elapsed() < LIMIT.mul_f64(0.95) {
        let failure = case.fail(Kind::WrongState, SILENT_ONE, "one that had just come was let go");
        return Err(failure.into());
    }
    case.expect_fin(&mut third, LIMIT * 4, "FIN for that one, too")?;
    was_told_nothing(case, &third)
}

/// While a client is silent, and its time is not up, there is nothing to wake for. What counts is the thread that the process
/// began with: a runtime has others, with clocks of their own.
fn sleeps_meanwhile(case: &mut Case) -> Step {
    let mut client = case.connect("a client connects")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    let main = case.main();
    let before = process::times_asleep(main);
    rests(case, "it says nothing", "poll() returns at once, though nobody says anything and nobody's time is up")?;
    let woken = process::times_asleep(main).zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
    if woken > FEW {
        let expected = format!("it says nothing for a second: the server to wake at most {FEW} times");
        let failure = case.fail(Kind::WrongState, expected, format!("it woke {woken} times"));
        return Err(
            failure.because("poll() may sleep until the first client's time is up, and need not look in between")
        );
    }
    Ok(())
}

fn was_told_nothing(case: &mut Case, client: &Client) -> Step {
    if client.received.is_empty() {
        return Ok(());
    }
    let seen = format!("it got {} before", evidence::bytes(&client.received));
    Err(case.fail(Kind::WrongBytes, format!("{SILENT_ONE}, and nothing else"), seen).into())
}

/// One speaks all the time, and one does not. `None` where we were late with one that is to speak.
fn one_is_silent(case: &mut Case) -> Step<Option<()>> {
    let mut talker = Speaker::connect(case, "a client connects")?;
    if talker.speak(case, "echo")?.is_none() {
        return Ok(None);
    }
    let mut silent = Speaker::connect(case, "another one connects")?;
    if silent.speak(case, "echo; from now on it is silent")?.is_none() {
        return Ok(None);
    }
    while silent.since.elapsed() < LIMIT * 5 && silent.client.ended.is_none() {
        case.wait(LIMIT / 10)?;
        silent.client.listen();
        if case.quietly(|case| talker.speak(case, "echo for the one that speaks"))?.is_none() {
            return Ok(None);
        }
    }
    // Once more, and for longer where the server is at work: it may be we who have not looked in all that time.
    let client = &mut silent.client;
    let ended = case.until(SOON, |_| {
        client.listen();
        Ok(client.ended)
    })?;
    let took = silent.since.elapsed();
    if ended.is_none() {
        let failure = case.fail(Kind::TimedOut, SILENT_ONE, "none was seen within 5 s");
        return Err(
            failure.because("poll() sleeps until somebody says something, unless it is told for how long at most")
        );
    }
    case.expect_fin(&mut silent.client, SOON, "FIN for the one that is silent")?;
    was_told_nothing(case, &silent.client)?;
    if took < LIMIT.mul_f64(0.95) {
        return Err(case.fail(Kind::WrongState, SILENT_ONE, format!("it came after {} ms", took.as_millis())).into());
    }
    talker.speak(case, "echo for the one that speaks")
}
