//! Lab 7 against the C program of the same model: deliveries per second, and how long one takes.

use std::io;
use std::time::Duration;

use crate::Failure;
use crate::chat::{Chat, Deliveries, WINDOW};
use crate::crowd::room_for_connections;
use crate::lab6_section::figures;
use crate::report::Goal;
use crate::sections::{Bench, PER_SECOND};
use crate::server::{Program, Server};
use crate::statistics::quantile;

const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(1);
/// The steady rate, how many clients share in it and for how long.
const POSTS_PER_SECOND: u32 = 200;
const CLIENTS: usize = 100;
const STEADY: Duration = Duration::from_millis(2_000);
/// What the programs are called in the rows that are theirs alone.
const WRONG: &str = "lost, doubled or out of order";

impl Bench {
    /// Lab 7: closed loops of three sizes, and a steady rate.
    pub fn chat(&mut self) -> Result<(), Failure> {
        room_for_connections()?;
        let servers = self.servers(7, "lab07_chat", "chat")?;
        let mut wrong = vec![0; self.pairs];
        for (clients, senders) in [(CLIENTS, 1), (CLIENTS, 10), (1_000, 4)] {
            self.closed_loop(&servers, clients, senders, &mut wrong)?;
        }
        self.steady(&servers, &mut wrong)?;
        let wrong = vec![wrong.into_iter().map(|wrong| wrong as f64).collect()];
        self.add_rows(&format!("chat: deliveries {WRONG}"), "", &["socklab"], wrong, Some(Goal::AlwaysZero));
        let window = format!("chat: a sender has at most {WINDOW} messages under way that have not reached everybody.");
        self.report.notes.push(window);
        Ok(())
    }

    fn closed_loop(
        &mut self,
        servers: &[Program],
        clients: usize,
        senders: usize,
        wrong: &mut [u64],
    ) -> Result<(), Failure> {
        let what = format!("chat: {clients} clients, {senders} of them sending");
        let load = |server: &Server| Chat::register(server, clients, senders)?.deliveries(WARM_UP, MEASURED);
        let runs = self.run_in_turn(&what, servers, load)?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        let rates = figures(&runs, |run| run.rate);
        self.add_rows(&format!("{what}, deliveries"), PER_SECOND, &names, rates, Some(Goal::RatioAtLeast(0.85)));
        let cpu = figures(&runs, |run| run.server_cpu);
        self.add_rows(&format!("{what}, server's CPU time for each"), "µs", &names, cpu, None);
        let shares: Vec<_> = names.iter().zip(&runs).map(|(name, runs)| busy(name, runs)).collect();
        self.report.notes.push(format!("{what}, how busy the cores were: {}.", shares.join("; ")));
        self.count_wrong(&what, &names, &figures(&runs, |run| run.wrong as f64), wrong);
        Ok(())
    }

    fn steady(&mut self, servers: &[Program], wrong: &mut [u64]) -> Result<(), Failure> {
        let what = format!("chat: {POSTS_PER_SECOND} messages a second to {CLIENTS} clients");
        let load = |server: &Server| -> io::Result<[f64; 3]> {
            let chat = Chat::register(server, CLIENTS, CLIENTS)?;
            let (latencies, wrong) = chat.latencies(POSTS_PER_SECOND, STEADY)?;
            Ok([quantile(&latencies, 0.5), quantile(&latencies, 0.99), wrong as f64])
        };
        let runs = self.run_in_turn(&what, servers, load)?;
        let names: Vec<_> = servers.iter().map(|server| server.name).collect();
        let p50 = figures(&runs, |run| run[0]);
        self.add_rows(&format!("{what}, p50"), "µs", &names, p50, Some(Goal::RatioAtMost(1.1)));
        self.add_rows(&format!("{what}, p99"), "µs", &names, figures(&runs, |run| run[1]), None);
        self.count_wrong(&what, &names, &figures(&runs, |run| run[2]), wrong);
        Ok(())
    }

    /// socklab's errors are added up, another program's are a note: its rate would be worth nothing.
    fn count_wrong(&mut self, what: &str, names: &[&str], found: &[Vec<f64>], wrong: &mut [u64]) {
        for (sum, found) in wrong.iter_mut().zip(&found[0]) {
            *sum += *found as u64;
        }
        for (name, found) in names.iter().zip(found).skip(1) {
            let found: f64 = found.iter().sum();
            if found > 0.0 {
                self.report.notes.push(format!("{what}, {name}: {found} deliveries {WRONG}!"));
            }
        }
    }
}

fn busy(name: &str, runs: &[Deliveries]) -> String {
    let mean = |of: fn(&Deliveries) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    let (server, generator) = (mean(|run| run.server_share), mean(|run| run.generator_share));
    format!("{name} {server:.2}, its load generator {generator:.2}")
}
