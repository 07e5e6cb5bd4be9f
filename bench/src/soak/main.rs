//! A soak of the chat server: steady clients, whose every message is checked, beside clients that come, go, stall, reset and lie.
//!
//! Nothing may be lost, doubled or out of order; the server's memory stays bounded and its descriptors come back; a SIGTERM
//! ends it with SHUTTING_DOWN for everybody and exit code 0. Random choices follow from a seed; what the kernel's scheduler
//! makes of them does not.

mod ledger;
mod random;
mod server;
mod steady;
mod trouble;
mod wire;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, value_parser};

use crate::ledger::Stay;
use crate::server::Server;
use crate::steady::Run;
use crate::trouble::{Account, Kind};

/// Steady clients at a time, and in the end.
const SEATS: u64 = 16;
const LAST: u64 = 8;
/// Trouble at a time.
const TROUBLE: [(Kind, u64); 5] =
    [(Kind::Comer, 6), (Kind::Staller, 6), (Kind::Resetter, 4), (Kind::Liar, 4), (Kind::Dripper, 4)];
/// The server's own memory may not grow beyond this, whatever is done to it.
const MEMORY_LIMIT: u64 = 64 * 1024;
/// How long they talk before the server is told to end.
const BEFORE_THE_END: Duration = Duration::from_secs(1);
/// More problems than these are only counted.
const SHOWN: usize = 30;

/// Soaks the chat server, and checks every message
#[derive(Parser)]
struct Options {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// Repeats the random choices of a run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// The server; without this, the lab7-server beside this program
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,

    /// Arguments for the server
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// What has been found.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    stays: Vec<Stay>,
    trouble: BTreeMap<String, BTreeMap<&'static str, u64>>,
    peak: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Unpredictable, and short enough to be typed.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let seed = options.seed.unwrap_or(u64::from(now) % 1_000_000);
    println!("{} s, seed {seed}", options.seconds);
    match soak(&options, seed) {
        Ok(problems) if problems.is_empty() => {
            println!("Clean: nothing lost, doubled or out of order.");
            ExitCode::SUCCESS
        }
        Ok(problems) => {
            println!("\n{} problems (--seed {seed} repeats the choices):", problems.len());
            problems.iter().take(SHOWN).for_each(|problem| println!("  {problem}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options, seed: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let beside = std::env::current_exe()?.with_file_name("lab7-server");
    let mut server = Server::start(options.server.as_ref().unwrap_or(&beside), &options.arguments)?;
    let (descriptors, memory) = (server.descriptors()?, server.memory()?);
    let began = Instant::now();
    let mut findings = Findings { peak: memory, ..Findings::default() };

    let is_over = AtomicBool::new(false);
    let run = Run { server: server.address, seed, began, is_over: &is_over };
    everybody(run, Duration::from_secs(options.seconds), &mut server, &mut findings)?;

    if server.has_ended()?.is_none() {
        let open = server.descriptors_back_to(descriptors)?;
        let after = server.memory()?;
        println!("descriptors: {descriptors} before, {open} after everybody had left");
        println!("memory of its own: {memory} KiB before, {} KiB at most, {after} KiB after", findings.peak);
        if open != descriptors {
            findings.problems.push(format!("{open} descriptors are open, where there were {descriptors}"));
        }
        if findings.peak > MEMORY_LIMIT {
            findings.problems.push(format!("it took {} KiB of memory, more than {MEMORY_LIMIT}", findings.peak));
        }
        the_end(run, &mut server, &mut findings)?;
    }
    findings.problems.extend(ledger::problems(&findings.stays));
    findings.print(&server);
    Ok(findings.problems)
}

/// Steady clients and trouble, for the time given. Afterwards nobody is connected any more.
fn everybody(run: Run, how_long: Duration, server: &mut Server, findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    thread::scope(|scope| {
        let seats: Vec<_> = (0..SEATS).map(|number| scope.spawn(move || steady::seat(run, number))).collect();
        let kinds = TROUBLE.iter().flat_map(|&(kind, count)| (0..count).map(move |_| kind)).enumerate();
        let trouble: Vec<_> = kinds
            .map(|(number, kind)| (kind, scope.spawn(move || trouble::visits(run, kind, number as u64))))
            .collect();
        let end = Instant::now() + how_long;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(200).min(end.saturating_duration_since(Instant::now())));
            match server.has_ended() {
                Ok(None) => findings.peak = findings.peak.max(server.memory().unwrap_or_default()),
                Ok(Some(status)) => {
                    findings.problems.push(format!("the server has ended in the middle: {status}"));
                    break;
                }
                Err(error) => findings.problems.push(format!("the server cannot be waited for: {error}")),
            }
        }
        run.is_over.store(true, Ordering::Relaxed);
        for seat in seats {
            findings.stays.extend(seat.join().map_err(|_| "a steady client panicked")?);
        }
        for (kind, visitor) in trouble {
            findings.add(kind, visitor.join().map_err(|_| "a client that makes trouble panicked")?);
        }
        Ok(())
    })
}

/// A conversation in full swing, and then SIGTERM.
fn the_end(run: Run, server: &mut Server, findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let is_over = AtomicBool::new(false);
    let run = Run { is_over: &is_over, ..run };
    thread::scope(|scope| {
        let last: Vec<_> =
            (0..LAST).map(|number| scope.spawn(move || steady::until_the_end(run, SEATS + number))).collect();
        thread::sleep(BEFORE_THE_END);
        match server.terminate()? {
            Some(status) if status.success() => println!("SIGTERM: it ended with exit code 0"),
            Some(status) => findings.problems.push(format!("SIGTERM: it ended with {status}")),
            None => findings.problems.push("SIGTERM: it did not end within ten seconds".into()),
        }
        // Whoever has not been let go by now is told by us: the check below finds it.
        is_over.store(true, Ordering::Relaxed);
        for client in last {
            let stay = client.join().map_err(|_| "a steady client panicked")?;
            if stay.ended_by_server != Some(Some("SHUTTING_DOWN".into())) {
                let problem = format!("{}: not told SHUTTING_DOWN, but {:?}", stay.name, stay.ended_by_server);
                findings.problems.push(problem);
            }
            findings.stays.push(stay);
        }
        Ok(())
    })
}

impl Findings {
    fn add(&mut self, kind: Kind, account: Account) {
        self.problems.extend(account.problems);
        let sums = self.trouble.entry(format!("{kind:?}").to_lowercase()).or_default();
        for (what, count) in account.counts {
            *sums.entry(what).or_default() += count;
        }
    }

    fn print(&self, server: &Server) {
        let said: usize = self.stays.iter().map(|stay| stay.said.len()).sum();
        let told = self.stays.iter().filter(|stay| stay.ended_by_server == Some(Some("SLOW_CONSUMER".into()))).count();
        println!(
            "steady clients: {} stays, {said} messages, {} deliveries checked",
            self.stays.len(),
            ledger::deliveries(&self.stays)
        );
        if told > 0 {
            println!("  of them {told} were told SLOW_CONSUMER");
        }
        for (kind, counts) in &self.trouble {
            let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
            println!("{kind}: {}", counts.join(", "));
        }
        println!("SLOW_CONSUMER in the server's log: {}", server.slow_consumers());
        if !self.problems.is_empty() {
            println!("the end of the server's log:");
            server.last_lines().iter().for_each(|line| println!("  {}", line.escape_debug()));
        }
    }
}
