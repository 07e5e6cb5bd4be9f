//! Clients that are no good: they come and go, stall, reset and lie. What they are told is checked where it is certain.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::random::Random;
use crate::steady::Run;
use crate::wire::{Next, Wire};

/// A look at whether the run is over.
const GLANCE: Duration = Duration::from_millis(100);
/// Longer than any frame may be.
const TOO_LONG: usize = 70_000;

/// What came of one kind's visits.
#[derive(Default)]
pub struct Account {
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What should not have happened.
    pub problems: Vec<String>,
}

/// A kind of trouble.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Registers, says a little, and leaves in any way.
    Comer,
    /// Registers and never reads.
    Staller,
    /// Ends with a reset, wherever it is.
    Resetter,
    /// Sends what is no request.
    Liar,
    /// Sends one byte a second.
    Dripper,
}

/// Visit after visit, until the run is over.
pub fn visits(run: Run, kind: Kind, number: u64) -> Account {
    let mut random = Random::new(run.seed, 1_000_000 + number);
    let mut account = Account::default();
    let mut visit = 0;
    while !run.is_over.load(Ordering::Relaxed) {
        let name = format!("{kind:?}-{number}-{visit}");
        let outcome = match kind {
            Kind::Comer => come(run.server, &name, &mut random),
            Kind::Staller => stall(run.server, &name, run.is_over, &mut account),
            Kind::Resetter => reset(run.server, &name, &mut random),
            Kind::Liar => lie(run.server, &mut random, &mut account),
            Kind::Dripper => drip(run.server, run.is_over),
        };
        *account.counts.entry("visits").or_default() += 1;
        if let Err(error) = outcome {
            // Who behaves like this may be thrown out at any time. That the server is not there at all would be another thing.
            let word = if error.kind() == io::ErrorKind::ConnectionRefused { "refused" } else { "cut short" };
            *account.counts.entry(word).or_default() += 1;
        }
        visit += 1;
    }
    account
}

fn register(wire: &mut Wire, name: &str) -> io::Result<()> {
    wire.request(&json!({ "type": "REGISTER", "data": name }))?;
    match wire.answer() {
        Some(answer) if answer["type"] == "OK" => Ok(()),
        _ => Err(io::Error::other("it could not register")),
    }
}

fn come(server: SocketAddr, name: &str, random: &mut Random) -> io::Result<()> {
    let mut wire = Wire::connect(server)?;
    register(&mut wire, name)?;
    for _ in 0..random.between(0, 5) {
        let request = random.one_of(&["MESSAGE", "LIST_USERS", "LIST_MESSAGES", "TIME", "ECHO"]);
        match *request {
            "MESSAGE" | "ECHO" => wire.request(&json!({ "type": request, "data": "a word in passing" }))?,
            _ => wire.request(&json!({ "type": request }))?,
        }
        wire.answer();
    }
    thread::sleep(Duration::from_millis(random.between(0, 300)));
    match random.between(0, 2) {
        0 => wire.request(&json!({ "type": "QUIT" }))?,
        1 => wire.finish(),
        // Closed with bytes that were not read: the kernel makes a reset of it.
        _ => return Ok(()),
    }
    while let Next::Line(_) = wire.next(Instant::now() + Duration::from_secs(5)) {}
    Ok(())
}

/// It reads only in the end, to see what became of it.
fn stall(server: SocketAddr, name: &str, is_over: &AtomicBool, account: &mut Account) -> io::Result<()> {
    let mut wire = Wire::connect(server)?;
    wire.request(&json!({ "type": "REGISTER", "data": name }))?;
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until && !is_over.load(Ordering::Relaxed) {
        thread::sleep(GLANCE);
    }
    let mut last = Vec::new();
    let until = Instant::now() + Duration::from_secs(3);
    let end = loop {
        match wire.next(until) {
            Next::Line(line) => last = line,
            other => break other,
        }
    };
    let last: Value = serde_json::from_slice(&last).unwrap_or_default();
    let word = match end {
        Next::Finished if last["code"] == "SLOW_CONSUMER" => "told SLOW_CONSUMER",
        Next::Finished | Next::Broken => "cut",
        _ => "not cut",
    };
    *account.counts.entry(word).or_default() += 1;
    Ok(())
}

fn reset(server: SocketAddr, name: &str, random: &mut Random) -> io::Result<()> {
    let mut wire = Wire::connect(server)?;
    match random.between(0, 3) {
        0 => {}
        1 => wire.send(b"{\"type\":\"REGI")?,
        2 => wire.request(&json!({ "type": "REGISTER", "data": name }))?,
        _ => {
            register(&mut wire, name)?;
            for _ in 0..random.between(1, 20) {
                wire.request(&json!({ "type": "MESSAGE", "data": "gone before you read this" }))?;
            }
        }
    }
    thread::sleep(Duration::from_millis(random.between(0, 50)));
    wire.reset();
    Ok(())
}

/// A line that is no request, and what has to be answered.
const LIES: [(&[u8], &str); 12] = [
    (b"{\"type\":\"MESSAGE\",\"data\":\n", "BAD_JSON"),
    (b"hello\n", "BAD_JSON"),
    (b"\0\0\0\n", "BAD_JSON"),
    (b"{\"type\":\"MESSAGE\",\"data\":\"\x01\"}\n", "BAD_JSON"),
    (b"{\"type\":\"MESSAGE\",\"data\":\"\\x\"}\n", "BAD_JSON"),
    (b"{\"type\":\"MESSAGE\",\"data\":\"\xff\xfe\"}\n", "BAD_UTF8"),
    (b"{\"type\":\"ECHO\",\"data\":\"\xed\xa0\x80\"}\n", "BAD_UTF8"),
    (b"{\"type\":\"DANCE\",\"data\":1}\n", "UNKNOWN_TYPE"),
    (b"{\"type\":\"REGISTER\"}\n", "MISSING_DATA"),
    (b"{\"type\":\"REGISTER\",\"data\":17}\n", "BAD_DATA"),
    (b"{\"type\":\"REGISTER\",\"data\":\"two words\"}\n", "BAD_NAME"),
    (b"{\"type\":\"MESSAGE\",\"data\":\"who am I?\"}\n", "NOT_REGISTERED"),
];

fn lie(server: SocketAddr, random: &mut Random, account: &mut Account) -> io::Result<()> {
    let mut wire = Wire::connect(server)?;
    for _ in 0..random.between(1, 8) {
        let (lie, code): (Vec<u8>, _) = match random.between(0, 19) {
            0 => ([vec![b'x'; TOO_LONG], vec![b'\n']].concat(), "TOO_LONG"),
            1 => ([vec![b'['; 60_000], vec![b'\n']].concat(), "BAD_JSON"),
            2 => return half(wire, random),
            3 => return tiny(wire),
            4 => return endless(wire),
            _ => {
                let (lie, code) = *random.one_of(&LIES);
                (lie.to_vec(), code)
            }
        };
        wire.send(&lie)?;
        let Some(answer) = wire.answer() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        *account.counts.entry("answered").or_default() += 1;
        if answer["code"] != code {
            let lie = String::from_utf8_lossy(&lie[..lie.len().min(60)]).into_owned();
            account.problems.push(format!("liar: {lie:?} should be answered with {code}, and was with {answer}"));
        }
    }
    // It is this line that was wrong, not this connection.
    wire.request(&json!({ "id": "last", "type": "ECHO", "data": { "still": ["here"] } }))?;
    match wire.answer() {
        Some(answer) if answer["data"]["still"][0] == "here" && answer["id"] == "last" => Ok(()),
        Some(answer) => {
            account.problems.push(format!("liar: a good ECHO in the end was answered with {answer}"));
            Ok(())
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A frame that the connection's end cuts in two.
fn half(mut wire: Wire, random: &mut Random) -> io::Result<()> {
    wire.send(b"{\"type\":\"MESSAGE\",\"data\":\"and th")?;
    thread::sleep(Duration::from_millis(random.between(0, 500)));
    wire.finish();
    while let Next::Line(_) = wire.next(Instant::now() + Duration::from_secs(5)) {}
    Ok(())
}

/// Very many small frames in a few writes; the answers are read beside.
fn tiny(mut wire: Wire) -> io::Result<()> {
    for _ in 0..50 {
        wire.send(&b"{}\n".repeat(200))?;
        while let Next::Line(_) = wire.next(Instant::now()) {}
    }
    Ok(())
}

/// Megabytes without a newline.
fn endless(mut wire: Wire) -> io::Result<()> {
    for _ in 0..40 {
        wire.send(&[b'x'; 64 * 1024])?;
    }
    Ok(())
}

fn drip(server: SocketAddr, is_over: &AtomicBool) -> io::Result<()> {
    let mut wire = Wire::connect(server)?;
    for byte in b"{\"type\":\"ECHO\",\"data\":" {
        wire.send(&[*byte])?;
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            thread::sleep(GLANCE);
        }
    }
    Ok(())
}
