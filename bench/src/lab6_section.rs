//! Lab 6 against the C program of the same model: many connections, one thread.

use std::io;
use std::thread;
use std::time::Duration;

use crate::Failure;
use crate::bulk;
use crate::crowd::{Crowd, Rounds, room_for_connections};
use crate::report::{Goal, Row};
use crate::sections::{Bench, PER_SECOND};
use crate::server::{Program, Server};
use crate::talk::Language;

const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_secs(1);
/// What a server may take to notice that its first client is gone.
const MOMENT: Duration = Duration::from_millis(50);
/// Connections that are open and silent while memory is looked at.
const IDLE: usize = 5_000;
/// A crowd, and the large crowd that is held against it.
const SOME: usize = 1_000;
const MANY: usize = 10_000;

impl Bench {
    /// Lab 6: crowds of 64, 1,000 and 10,000, large amounts, memory.
    pub fn lab6(&mut self) -> Result<(), Failure> {
        let room = room_for_connections()?;
        let servers = self.servers(6, "lab06_epoll", "epoll")?;
        self.crowd(64, &servers, 0.98, Some(1.0), None)?;
        self.crowd(SOME, &servers, 0.97, None, Some(1.1))?;
        self.bulk(&servers)?;
        self.idle_memory(&servers, IDLE.min(room))?;
        self.large_crowd(&servers, MANY.min(room))
    }

    fn crowd(
        &mut self,
        count: usize,
        servers: &[Program],
        rate: f64,
        cpu: Option<f64>,
        p99: Option<f64>,
    ) -> Result<(), Failure> {
        let what = format!("lab 6: {count} connections");
        let rounds = self.run_in_turn(&what, servers, |server| {
            Crowd::connect(server, Language::Bytes, count)?.round_trips(count, WARM_UP, MEASURED)
        })?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        let mut add = |figure: &str, unit, goal, of: fn(&Rounds) -> f64| {
            self.add_rows(&format!("{what}, {figure}"), unit, &names, figures(&rounds, of), goal);
        };
        add("round trips of 64 bytes", PER_SECOND, Some(Goal::RatioAtLeast(rate)), |round| round.rate);
        let most = |limit: Option<f64>| limit.map(Goal::RatioAtMost);
        add("server's CPU time for each", "µs", most(cpu), |round| round.server_cpu);
        add("p50", "µs", None, |round| round.p50);
        add("p99", "µs", most(p99), |round| round.p99);
        let shares: Vec<_> = names.iter().zip(&rounds).map(|(name, rounds)| busy(name, rounds)).collect();
        self.report.notes.push(format!("{what}, how busy the cores were: {}.", shares.join("; ")));
        Ok(())
    }

    fn bulk(&mut self, servers: &[Program]) -> Result<(), Failure> {
        let what = format!("lab 6: large writes over {} connections", bulk::CONNECTIONS);
        let load = |server: &Server| bulk::megabytes_per_second(server, WARM_UP, MEASURED);
        let series = self.run_in_turn(&what, servers, load)?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        self.add_rows(&what, "MB/s", &names, series, Some(Goal::RatioAtLeast(1.2)));
        Ok(())
    }

    fn idle_memory(&mut self, servers: &[Program], count: usize) -> Result<(), Failure> {
        let what = format!("lab 6: {count} idle connections, memory for each");
        let series = self.run_in_turn(&what, servers, |server| memory_of_each(server, Language::Bytes, count))?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        self.add_rows(&what, "KiB", &names, series, Some(Goal::FigureAtMost(0.15, "KiB")));
        Ok(())
    }

    /// The same server with some connections, and with many.
    fn large_crowd(&mut self, servers: &[Program], count: usize) -> Result<(), Failure> {
        let what = format!("lab 6: {count} connections, round trips of 64 bytes");
        let series = self.run_in_turn(&what, servers, |server| {
            let mut crowd = Crowd::connect(server, Language::Bytes, SOME)?;
            let some = crowd.round_trips(SOME, WARM_UP, MEASURED)?.rate;
            crowd.grow(server, count)?;
            Ok((some, crowd.round_trips(count, WARM_UP, MEASURED)?.rate))
        })?;
        let of = |which: usize, of: fn(&(f64, f64)) -> f64| series[which].iter().map(of).collect::<Vec<f64>>();
        self.report.rows.push(Row {
            what: what.clone(),
            unit: PER_SECOND,
            figures: of(0, |rates| rates.1),
            reference: Some(("with 1000", of(0, |rates| rates.0))),
            goal: Some(Goal::RatioAtLeast(0.85)),
        });
        if servers.len() > 1 {
            let many = vec![of(0, |rates| rates.1), of(1, |rates| rates.1)];
            self.add_rows(&what, PER_SECOND, &[servers[0].name, servers[1].name], many, None);
        }
        Ok(())
    }
}

/// KiB of the server's own memory for each of `count` clients that have been served once and are silent now.
pub fn memory_of_each(server: &Server, language: Language, count: usize) -> io::Result<f64> {
    // What the first client brings about is not what each costs.
    drop(Crowd::connect(server, language, 1)?);
    thread::sleep(MOMENT);
    let before = server.tree().memory()?;
    let crowd = Crowd::connect(server, language, count)?;
    let memory = server.tree().memory()?;
    drop(crowd);
    Ok(memory.saturating_sub(before) as f64 / 1024.0 / count as f64)
}

/// One figure of each run of each program.
pub fn figures<T>(runs: &[Vec<T>], of: impl Fn(&T) -> f64) -> Vec<Vec<f64>> {
    runs.iter().map(|runs| runs.iter().map(&of).collect()).collect()
}

fn busy(name: &str, rounds: &[Rounds]) -> String {
    let mean = |of: fn(&Rounds) -> f64| rounds.iter().map(of).sum::<f64>() / rounds.len() as f64;
    let (server, generator) = (mean(|round| round.server_share), mean(|round| round.generator_share));
    format!("{name} {server:.2}, its load generator {generator:.2}")
}
