//! What each model costs: the servers of labs 1, 3, 4, 5 and 6 side by side, under the same load.

use std::io;
use std::time::Duration;

use crate::Failure;
use crate::crowd::{Crowd, Rounds, room_for_connections};
use crate::lab6_section::memory_of_each;
use crate::load;
use crate::report::{Line, Table};
use crate::sections::{Bench, PER_SECOND};
use crate::server::{Program, Server};
use crate::talk::Language;
use crate::tools;

const WARM_UP: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_millis(600);
/// Clients at once, where a server can have more than one; and among many silent ones.
const CLIENTS: usize = 64;
const SILENT: usize = 1_000;
/// Clients whose memory is looked at.
const RESIDENTS: usize = 256;

/// A lab's server in the table.
struct Model {
    name: &'static str,
    lab: u8,
    package: &'static str,
    language: Language,
    /// One client at a time, or any number.
    serves_many: bool,
    /// What lets it have more than a thousand clients.
    arguments: &'static [&'static str],
}

const MODELS: [Model; 5] = [
    model(1, "1 one at a time", "lab01_echo"),
    Model { serves_many: true, arguments: &["--max-clients", "2000"], ..model(3, "3 processes", "lab03_fork") },
    Model {
        serves_many: true,
        arguments: &["--max-clients", "2000"],
        language: Language::Json,
        ..model(4, "4 threads, JSON", "lab04_messages")
    },
    Model { serves_many: true, ..model(5, "5 poll", "lab05_poll") },
    Model { serves_many: true, ..model(6, "6 epoll", "lab06_epoll") },
];

const fn model(lab: u8, name: &'static str, package: &'static str) -> Model {
    Model { name, lab, package, language: Language::Bytes, serves_many: false, arguments: &[] }
}

/// One series for each model, `None` where it cannot do this.
type Results<T> = Vec<Option<Vec<T>>>;

impl Bench {
    /// The table.
    pub fn models(&mut self) -> Result<(), Failure> {
        room_for_connections()?;
        let programs = MODELS.iter().map(Model::program).collect::<Result<Vec<_>, Failure>>()?;
        let mut lines = Vec::new();

        let all = |_: &Model| true;
        let many = |model: &Model| model.serves_many;
        let rounds = self.each(&programs, all, |server, language| {
            Crowd::connect(server, language, 1)?.round_trips(1, WARM_UP, MEASURED)
        })?;
        lines.push(line("1 client, round trips", PER_SECOND, &rounds, |round: &Rounds| round.rate));
        lines.push(line("1 client, server's CPU time for each", "µs", &rounds, |round| round.server_cpu));

        let rounds = self.each(&programs, many, |server, language| {
            Crowd::connect(server, language, CLIENTS)?.round_trips(CLIENTS, WARM_UP, MEASURED)
        })?;
        lines.push(line(&format!("{CLIENTS} clients, round trips"), PER_SECOND, &rounds, |round| round.rate));
        let cpu = format!("{CLIENTS} clients, server's CPU time for each");
        lines.push(line(&cpu, "µs", &rounds, |round| round.server_cpu));
        lines.push(line(&format!("{CLIENTS} clients, p99"), "µs", &rounds, |round| round.p99));

        let rounds = self.each(&programs, many, |server, language| {
            Crowd::connect(server, language, SILENT + CLIENTS)?.round_trips(CLIENTS, WARM_UP, MEASURED)
        })?;
        let what = format!("the same beside {SILENT} silent ones, round trips");
        lines.push(line(&what, PER_SECOND, &rounds, |round| round.rate));

        let served = self.each(&programs, all, |server, language| load::visits(server, language, 50, 500))?;
        lines.push(line("clients that connect, ask once and close", PER_SECOND, &served, |rate| *rate));

        let memory = self.each(&programs, many, |server, language| memory_of_each(server, language, RESIDENTS))?;
        let what = format!("memory for each of {RESIDENTS} clients");
        lines.push(line(&what, "KiB", &memory, |each| *each));

        let columns = MODELS.iter().map(|model| model.name).collect();
        self.report.tables.push(Table { title: "What each model costs: lab".into(), columns, lines });
        Ok(())
    }

    /// Runs those of the models that can serve it in turn.
    fn each<T>(
        &self,
        programs: &[Program],
        can_serve: impl Fn(&Model) -> bool,
        load: impl Fn(&Server, Language) -> io::Result<T>,
    ) -> Result<Results<T>, Failure> {
        let able: Vec<usize> = (0..MODELS.len()).filter(|&index| can_serve(&MODELS[index])).collect();
        let series = self.interleaved(able.len(), |which| {
            let model = &MODELS[able[which]];
            let run = || load(&programs[able[which]].start(self.cores)?, model.language);
            run().map_err(|error| format!("lab {}: {error}", model.lab).into())
        })?;
        let mut results: Results<T> = MODELS.iter().map(|_| None).collect();
        for (index, series) in able.into_iter().zip(series) {
            results[index] = Some(series);
        }
        Ok(results)
    }
}

impl Model {
    fn program(&self) -> Result<Program, Failure> {
        let file = tools::build(self.package, &format!("lab{}-server", self.lab))?;
        let arguments = ["--port", "0"].iter().chain(self.arguments).map(Into::into).collect();
        Ok(Program { name: self.name, file, arguments })
    }
}

fn line<T>(what: &str, unit: &'static str, results: &Results<T>, of: impl Fn(&T) -> f64) -> Line {
    let cells = results.iter().map(|runs| runs.as_ref().map(|runs| runs.iter().map(&of).collect()));
    Line { what: what.into(), unit, cells: cells.collect() }
}
