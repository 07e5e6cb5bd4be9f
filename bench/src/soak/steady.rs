//! A steady client: it comes, talks, listens to everything, and leaves; whatever it hears is written down.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ledger::{Moment, Said, Stay};
use crate::random::Random;
use crate::wire::{Next, Wire};

/// Steady clients' names begin like this; whoever is called otherwise is not written down.
pub const PREFIX: &str = "steady";
/// Nothing that is awaited may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What texts are made of: quotation marks, backslashes, control characters, letters of one to four bytes.
const PIECES: [&str; 10] = ["hello ", "\"", "\\", "\n", "\u{1b}[31m", "grüß dich ", "привет ", "日本 ", "🦀", "\0"];

/// What all steady clients of a run have in common.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where the server listens.
    pub server: SocketAddr,
    /// The run's seed.
    pub seed: u64,
    /// When it began.
    pub began: Instant,
    /// Set when everybody is to leave.
    pub is_over: &'a AtomicBool,
}

/// How a stay ends, if the server does not end it.
#[derive(Clone, Copy, PartialEq)]
enum Leave {
    Quit,
    Finish,
    Reset,
}

/// Stay after stay, until the run is over.
pub fn seat(run: Run, number: u64) -> Vec<Stay> {
    let mut random = Random::new(run.seed, number);
    let mut stays = Vec::new();
    while !run.is_over.load(Ordering::Relaxed) {
        let name = format!("{PREFIX}-{number}-{}", stays.len());
        let until = Instant::now() + Duration::from_millis(random.between(500, 12_000));
        stays.push(stay(run, name, until, &mut random));
    }
    stays
}

/// One stay that the server is to end: this client goes on until it does.
pub fn until_the_end(run: Run, number: u64) -> Stay {
    let mut random = Random::new(run.seed, number);
    stay(run, format!("{PREFIX}-{number}-last"), Instant::now() + 3 * PATIENCE, &mut random)
}

fn stay(run: Run, name: String, until: Instant, random: &mut Random) -> Stay {
    let mut client = Client::new(run, name);
    if let Err(error) = client.live(until, random) {
        client.stay.complaints.push(error.to_string());
    }
    client.stay
}

/// The text of somebody's message with that number: it can be made again by whoever hears it.
fn text(seed: u64, name: &str, number: u32) -> String {
    let stream = name.bytes().fold(u64::from(number), |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let mut random = Random::new(seed, stream);
    // Mostly short; now and then one that many reads are needed for.
    let pieces = if random.between(0, 9) == 0 { random.between(100, 3000) } else { random.between(0, 20) };
    let mut text = format!("{number} ");
    text.extend((0..pieces).map(|_| *random.one_of(&PIECES)));
    text
}

struct Client<'a> {
    run: Run<'a>,
    stay: Stay,
    answered: usize,
    is_echoed: bool,
    left: Vec<String>,
    code: Option<String>,
}

impl<'a> Client<'a> {
    fn new(run: Run<'a>, name: String) -> Self {
        let stay = Stay {
            name,
            asks_in: 0,
            is_in: Moment::MAX,
            leaves: 0,
            ended_by_server: None,
            said: Vec::new(),
            heard: HashMap::new(),
            complaints: Vec::new(),
        };
        Self { run, stay, answered: 0, is_echoed: false, left: Vec::new(), code: None }
    }

    fn now(&self) -> Moment {
        self.run.began.elapsed().as_nanos() as Moment
    }

    fn live(&mut self, until: Instant, random: &mut Random) -> io::Result<()> {
        let mut wire = Wire::connect(self.run.server)?;
        self.stay.asks_in = self.now();
        wire.request(&json!({ "type": "REGISTER", "data": self.stay.name }))?;
        match wire.answer() {
            Some(answer) if answer["type"] == "OK" => self.stay.is_in = self.now(),
            answer => return Err(io::Error::other(format!("REGISTER was answered with {answer:?}"))),
        }
        while Instant::now() < until && !self.run.is_over.load(Ordering::Relaxed) {
            let pause = Duration::from_millis(random.between(5, 80));
            if self.listen(&mut wire, Instant::now() + pause) {
                return Ok(());
            }
            if let Err(error) = self.speak(&mut wire, random) {
                // The end may have come while we spoke; what the server said before it can still be read.
                return if self.listen(&mut wire, Instant::now() + PATIENCE) { Ok(()) } else { Err(error) };
            }
        }
        self.leave(wire, *random.one_of(&[Leave::Quit, Leave::Quit, Leave::Finish, Leave::Reset]))
    }

    /// One message, or some in one write; sometimes cut where no message ends.
    fn speak(&mut self, wire: &mut Wire, random: &mut Random) -> io::Result<()> {
        let count = if random.between(0, 9) == 0 { random.between(2, 10) } else { 1 };
        let mut requests = String::new();
        for _ in 0..count {
            let number = self.stay.said.len() as u32;
            let text = text(self.run.seed, &self.stay.name, number);
            let kind = random.one_of(&["MESSAGE", "message", "Message"]);
            requests += &format!("{}\n", json!({ "id": number, "type": kind, "data": text }));
            self.stay.said.push(Said { sent: self.now(), answered: None });
        }
        let cut = random.between(0, requests.len() as u64) as usize;
        let (first, second) = requests.as_bytes().split_at(cut);
        wire.send(first)?;
        wire.send(second)
    }

    /// Hears what comes until the deadline. True if the connection has ended.
    fn listen(&mut self, wire: &mut Wire, deadline: Instant) -> bool {
        loop {
            match wire.next(deadline) {
                Next::Line(line) => self.hear(&line),
                Next::Silence => return false,
                Next::Finished | Next::Broken => {
                    // What was queued for a slow one is thrown away: of the end of its stay, nothing can be asked.
                    let was_slow = self.code.as_deref() == Some("SLOW_CONSUMER");
                    self.stay.leaves = if was_slow { 0 } else { self.now() };
                    self.stay.ended_by_server = Some(self.code.take());
                    return true;
                }
            }
        }
    }

    fn leave(&mut self, mut wire: Wire, how: Leave) -> io::Result<()> {
        // Everything that was said before is answered, so that its fate can be judged.
        let deadline = Instant::now() + PATIENCE;
        while self.answered < self.stay.said.len() && Instant::now() < deadline {
            if self.listen(&mut wire, Instant::now() + Duration::from_millis(1)) {
                return Ok(());
            }
        }
        if self.answered < self.stay.said.len() {
            let missing = self.stay.said.len() - self.answered;
            self.stay.complaints.push(format!("{missing} messages were not answered in ten seconds"));
        }
        let leaves = self.now();
        match how {
            Leave::Quit => wire.request(&json!({ "type": "QUIT" }))?,
            Leave::Finish => wire.finish(),
            Leave::Reset => {
                // A reset throws away what has not been read. What is due has been read when this has come back behind it.
                wire.request(&json!({ "type": "ECHO", "data": "the last word" }))?;
                while !self.is_echoed && Instant::now() < deadline {
                    if self.listen(&mut wire, Instant::now() + Duration::from_millis(1)) {
                        return Ok(());
                    }
                }
                self.stay.leaves = leaves;
                wire.reset();
                return Ok(());
            }
        }
        if !self.listen(&mut wire, Instant::now() + PATIENCE) {
            self.stay.complaints.push("the server did not close the connection after we had left".into());
        }
        // What came between leaving and the end was heard, but it need not have come.
        self.stay.leaves = leaves;
        self.stay.ended_by_server = None;
        Ok(())
    }

    fn hear(&mut self, line: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            self.stay.complaints.push(format!("not JSON: {:?}", String::from_utf8_lossy(line)));
            return;
        };
        let complaint = match line["type"].as_str() {
            Some("BROADCAST") => self.hear_message(&line),
            Some("OK") if line["re"] == "MESSAGE" => self.hear_answer(&line),
            Some("OK") if line["re"] == "QUIT" => None,
            Some("OK") if line["re"] == "ECHO" => {
                self.is_echoed = true;
                None
            }
            Some("ERROR") => self.hear_error(&line),
            Some("JOINED") => None,
            Some("LEFT") => {
                self.left.push(line["data"].as_str().unwrap_or_default().to_owned());
                None
            }
            _ => Some(format!("nobody expected {line}")),
        };
        self.stay.complaints.extend(complaint);
    }

    fn hear_message(&mut self, line: &Value) -> Option<String> {
        let (Some(from), Some(data)) = (line["from"].as_str(), line["data"].as_str()) else {
            return Some(format!("a BROADCAST that lacks something: {line}"));
        };
        if !line["time"].as_str().is_some_and(|time| time.len() >= 20 && time.ends_with('Z')) {
            return Some(format!("a BROADCAST without a time: {line}"));
        }
        if !from.starts_with(PREFIX) {
            return None;
        }
        let number = data.split_once(' ').and_then(|(number, _)| number.parse().ok());
        let Some(number) = number.filter(|&number| text(self.run.seed, from, number) == data) else {
            return Some(format!("this is not what {from} said: {data:?}"));
        };
        self.stay.heard.entry(from.to_owned()).or_default().push(number);
        let had_left = self.left.iter().any(|name| name == from);
        had_left.then(|| format!("{from} spoke (message {number}) after it had LEFT"))
    }

    fn hear_answer(&mut self, line: &Value) -> Option<String> {
        let now = self.now();
        let Some(said) = self.stay.said.get_mut(self.answered) else {
            return Some(format!("an answer to nothing: {line}"));
        };
        said.answered = Some(now);
        self.answered += 1;
        (line["id"] != self.answered - 1).then(|| format!("answers out of order: {line}"))
    }

    fn hear_error(&mut self, line: &Value) -> Option<String> {
        match line["code"].as_str() {
            // The last word before the end.
            Some(code @ ("SHUTTING_DOWN" | "SLOW_CONSUMER")) => {
                self.code = Some(code.to_owned());
                None
            }
            _ => Some(format!("it did nothing wrong, and got {line}")),
        }
    }
}
