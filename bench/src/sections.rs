//! What is measured: each section runs the programs it compares in turn, and adds rows to the report.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::cores::Cores;
use crate::flood;
use crate::load;
use crate::many_sockets::ManySockets;
use crate::report::{Goal, Report, Row};
use crate::server::{Program, Server};
use crate::tools;
use crate::traced::Watcher;

/// Sockets on the machine while the tables are timed.
const CONNECTIONS: usize = 5_000;
/// The unit of a rate.
pub const PER_SECOND: &str = "/s";

/// A load generator's figure for one fresh server.
type Load<'a> = &'a dyn Fn(&Server) -> io::Result<f64>;

/// How often, where, and into which report.
pub struct Bench {
    /// Runs of each program.
    pub pairs: usize,
    /// Where they run.
    pub cores: Cores,
    /// What came out.
    pub report: Report,
}

impl Bench {
    /// Labs 1 and 2: one connection, 64 bytes there and back.
    pub fn echo(&mut self, lab: u8, package: &str, goal: Option<Goal>) -> Result<(), Failure> {
        let servers = self.servers(lab, package, "echo")?;
        let what = format!("lab {lab}: round trips of 64 bytes");
        self.compare(&what, &servers, goal, &|server| load::round_trips(server, 2_000, 20_000))
    }

    /// Lab 3: connect, echo, close.
    pub fn fork(&mut self) -> Result<(), Failure> {
        let mut servers = self.servers(3, "lab03_fork", "fork")?;
        if tools::is_there("python3", "--version") {
            let script = tools::source("py/forking.py").into();
            servers.push(Program { name: "Python", file: "python3".into(), arguments: vec![script] });
        } else {
            self.report.notes.push("There is no python3 here: no ForkingMixIn to compare with.".into());
        }
        let goal = Some(Goal::RatioAtLeast(0.95));
        let one = |server: &Server| load::short_clients(server, 50, 1, 500);
        let four = |server: &Server| load::short_clients(server, 50, 4, 125);
        self.compare("lab 3: clients, one after another", &servers, goal, &one)?;
        self.compare("lab 3: clients, four at a time", &servers, goal, &four)
    }

    /// `socklab states` against `ss -tan`, with thousands of sockets to show.
    pub fn states(&mut self) -> Result<(), Failure> {
        let socklab = tools::build("socklab", "socklab")?;
        let sockets = ManySockets::open(CONNECTIONS)?;
        if sockets.count() < 2 * CONNECTIONS {
            let note = format!("Only {} sockets were opened: RLIMIT_NOFILE allows no more.", sockets.count());
            self.report.notes.push(note);
        }
        let mut listings = vec![Listing { program: socklab.as_ref(), arguments: &["states"], name: "socklab" }];
        if tools::is_there("ss", "--version") {
            listings.push(Listing { program: "ss".as_ref(), arguments: &["-tan"], name: "ss -tan" });
        } else {
            self.report.notes.push("There is no ss here: the time of `socklab states` stands alone.".into());
        }
        for listing in &listings {
            listing.check(sockets.count(), self.cores)?;
        }
        for (output, name) in [(Output::Null, "/dev/null"), (Output::Pipe, "a pipe")] {
            let series = self.interleaved(listings.len(), |which| listings[which].milliseconds(output, self.cores))?;
            let what = format!("states: {} sockets to {name}", sockets.count());
            let names: Vec<_> = listings.iter().map(|listing| listing.name).collect();
            self.add_rows(&what, "ms", &names, series, Some(Goal::RatioAtMost(0.5)));
        }
        Ok(())
    }

    /// `socklab segments` under a flood of small segments: what it misses, and how many it gets through in a second.
    pub fn segments(&mut self) -> Result<(), Failure> {
        if !nix::unistd::geteuid().is_root() {
            self.report.notes.push("`socklab segments` was not measured: capturing needs root.".into());
            return Ok(());
        }
        let socklab = tools::build("socklab", "socklab")?;
        let cores = self.cores;
        let lost = self.interleaved(1, |_| {
            let flooded = flood::datagrams(&socklab, cores)?;
            Ok(flooded.sent as f64 - flooded.shown as f64)
        })?;
        let what = format!("segments: lost of {} datagrams, {} a second", flood::DATAGRAMS, flood::PER_SECOND);
        self.add_rows(&what, "lost", &["socklab"], lost, Some(Goal::AlwaysZero));
        let mut lost = Vec::new();
        let shown = self.interleaved(1, |_| {
            let flooded = flood::bytes(&socklab, cores)?;
            lost.push(flooded.sent as f64 - flooded.shown as f64);
            Ok(flooded.shown as f64 / flooded.took.as_secs_f64())
        })?;
        self.add_rows("segments: shown of a flood over 8 TCP connections", PER_SECOND, &["socklab"], shown, None);
        let lost = vec![lost.split_off(1)];
        self.add_rows("segments: lost of that flood", "lost", &["socklab"], lost, None);
        Ok(())
    }

    /// `socklab trace` against strace: the µs of a round trip that each watches. The slowdowns are in the same ratio.
    pub fn calls(&mut self) -> Result<(), Failure> {
        let socklab = tools::build("socklab", "socklab")?;
        let Some(program) = tools::compile("roundtrips")? else {
            self.report.notes.push("There is no cc here: `socklab trace` was not measured.".into());
            return Ok(());
        };
        let socklab = socklab.to_string_lossy();
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=network"];
        let mut watchers = vec![Watcher { name: "socklab trace", words: vec![&socklab, "trace", "-q", "--"] }];
        if tools::is_there("strace", "--version") {
            watchers.push(Watcher { name: "strace", words: strace.to_vec() });
            let with_filter = [&strace[..1], &["--seccomp-bpf"], &strace[1..]].concat();
            watchers.push(Watcher { name: "strace --seccomp-bpf", words: with_filter });
        } else {
            self.report.notes.push("There is no strace here: the time of `socklab trace` stands alone.".into());
        }
        watchers.push(Watcher { name: "unwatched", words: Vec::new() });
        let cores = self.cores;
        let series = self.interleaved(watchers.len(), |which| watchers[which].microseconds(&program, cores))?;
        let names: Vec<_> = watchers.iter().map(|watcher| watcher.name).collect();
        let goal = Goal::RatioAtMost(0.8);
        self.add_rows("trace: a round trip of two watched processes", "µs", &names, series, Some(goal));
        let watches = [Watcher { name: "socklab watch", words: vec![&socklab, "watch", "-q", "--"] }];
        let series = self.interleaved(1, |which| watches[which].microseconds(&program, cores))?;
        self.add_rows("watch: the same with states and segments", "µs", &["socklab watch"], series, None);
        Ok(())
    }

    /// The lab's server, and the C program of the same model where it can be compiled.
    pub fn servers(&mut self, lab: u8, package: &str, c_program: &str) -> Result<Vec<Program>, Failure> {
        let file = tools::build(package, &format!("lab{lab}-server"))?;
        let mut servers = vec![Program { name: "socklab", file, arguments: vec!["--port".into(), "0".into()] }];
        match tools::compile(c_program)? {
            Some(file) => servers.push(Program { name: "C", file, arguments: vec!["0".into()] }),
            None => self.report.notes.push(format!("There is no cc here: lab {lab} is not compared with C.")),
        }
        Ok(servers)
    }

    /// Measures each server in a process of its own for each run, and adds the rows.
    fn compare(&mut self, what: &str, servers: &[Program], goal: Option<Goal>, load: Load) -> Result<(), Failure> {
        let series = self.run_in_turn(what, servers, load)?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        self.add_rows(what, PER_SECOND, &names, series, goal);
        Ok(())
    }

    /// The same for loads that have more than one figure to report.
    pub fn run_in_turn<T>(
        &self,
        what: &str,
        servers: &[Program],
        load: impl Fn(&Server) -> io::Result<T>,
    ) -> Result<Vec<Vec<T>>, Failure> {
        self.interleaved(servers.len(), |which| {
            let run = || load(&servers[which].start(self.cores)?);
            run().map_err(|error| format!("{what}, {}: {error}", servers[which].name).into())
        })
    }

    /// Runs all contestants in turn, A B, B A, A B …: what slows the machine for a while slows all of them.
    ///
    /// Returns the figures of each. The first turn warms up and is not counted.
    pub fn interleaved<T>(
        &self,
        contestants: usize,
        mut run: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<Vec<Vec<T>>, Failure> {
        let mut series: Vec<Vec<T>> = (0..contestants).map(|_| Vec::with_capacity(self.pairs)).collect();
        for round in 0..=self.pairs {
            for turn in 0..contestants {
                let which = if round % 2 == 0 { turn } else { contestants - 1 - turn };
                let figure = self.cores.generate(|| run(which))??;
                if round > 0 {
                    series[which].push(figure);
                }
            }
        }
        Ok(series)
    }

    /// The first series is socklab's: one row for each other, or one alone. The goal speaks of the first of the others.
    pub fn add_rows(
        &mut self,
        what: &str,
        unit: &'static str,
        names: &[&'static str],
        mut series: Vec<Vec<f64>>,
        goal: Option<Goal>,
    ) {
        let others = series.split_off(1);
        let figures = series.concat();
        if others.is_empty() {
            self.report.rows.push(Row { what: what.into(), unit, figures, reference: None, goal });
            return;
        }
        for (index, other) in others.into_iter().enumerate() {
            let name = names[index + 1];
            self.report.rows.push(Row {
                what: what.into(),
                unit,
                figures: figures.clone(),
                reference: Some((name, other)),
                goal: goal.filter(|_| index == 0),
            });
        }
    }
}

/// Where a listing goes.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    Null,
    Pipe,
}

/// A command that lists sockets.
struct Listing<'a> {
    program: &'a Path,
    arguments: &'a [&'a str],
    name: &'static str,
}

impl Listing<'_> {
    /// From before the start to after the end; through a pipe, with reading all of it.
    fn milliseconds(&self, output: Output, cores: Cores) -> Result<f64, Failure> {
        let started = Instant::now();
        self.run(output, cores).map_err(|error| format!("{}: {error}", self.name))?;
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }

    /// A listing that does not list the sockets would be quick, and its time worthless.
    fn check(&self, sockets: usize, cores: Cores) -> Result<(), Failure> {
        let shown = self.run(Output::Pipe, cores).map_err(|error| format!("{}: {error}", self.name))?;
        let lines = shown.iter().filter(|&&byte| byte == b'\n').count();
        if lines >= sockets {
            Ok(())
        } else {
            Err(format!("{}: {lines} lines for {sockets} sockets", self.name).into())
        }
    }

    fn run(&self, output: Output, cores: Cores) -> io::Result<Vec<u8>> {
        let mut command = Command::new::<&OsStr>(self.program.as_ref());
        let stdout = if output == Output::Pipe { Stdio::piped() } else { Stdio::null() };
        command.args(self.arguments).stdin(Stdio::null()).stdout(stdout);
        let mut process = cores.start_program(|| command.spawn())??;
        let mut shown = Vec::new();
        let read = process.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut shown));
        let status = process.wait()?;
        read?;
        if status.success() { Ok(shown) } else { Err(io::Error::other(status.to_string())) }
    }
}
