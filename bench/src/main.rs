//! How fast the labs are, as ratios against minimal C programs of the same model.
//!
//! Both sides of a comparison run in turn, on the same machine and in the same minute: a ratio says something where an
//! absolute figure would only describe the machine. docs/performance.md says what is measured and why.

mod cores;
mod flood;
mod load;
mod many_sockets;
mod report;
mod sections;
mod server;
mod startup;
mod statistics;
mod tools;
mod traced;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum, value_parser};

use crate::cores::Cores;
use crate::report::{Goal, Report};
use crate::sections::Bench;

/// Why something could not be measured.
pub type Failure = Box<dyn Error>;

/// Measures the labs against minimal C programs of the same model
#[derive(Parser)]
struct Options {
    /// How often each program is run; the programs take turns
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = value_parser!(u16).range(1..=1000))]
    pairs: u16,

    /// Measure only these
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',',
          default_values = ["lab1", "lab2", "states", "segments", "calls", "lab3"])]
    only: Vec<Section>,

    /// Also measure the time from `make` to a listening server, in this checkout and in a fresh clone
    #[arg(long)]
    startup: bool,

    /// Print JSON, with every single figure
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Section {
    Lab1,
    Lab2,
    /// Before lab 3, whose clients leave thousands of sockets in TIME-WAIT
    States,
    Segments,
    Calls,
    Lab3,
    Startup,
}

impl Section {
    const ALL: [Self; 7] =
        [Self::Lab1, Self::Lab2, Self::States, Self::Segments, Self::Calls, Self::Lab3, Self::Startup];

    fn run(self, bench: &mut Bench) -> Result<(), Failure> {
        match self {
            Self::Lab1 => bench.echo(1, "lab01_echo", Some(Goal::RatioAtLeast(0.97))),
            Self::Lab2 => bench.echo(2, "lab02_raw", None),
            Self::States => bench.states(),
            Self::Segments => bench.segments(),
            Self::Calls => bench.calls(),
            Self::Lab3 => bench.fork(),
            Self::Startup => bench.startup(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lab1 => "lab 1",
            Self::Lab2 => "lab 2",
            Self::States => "states",
            Self::Segments => "segments",
            Self::Calls => "calls",
            Self::Lab3 => "lab 3",
            Self::Startup => "startup",
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cores = match Cores::choose() {
        Ok(cores) => cores,
        Err(error) => {
            eprintln!("bench: sched_setaffinity: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = Report { notes: vec![circumstances(&options, cores)], ..Report::default() };
    let mut bench = Bench { pairs: options.pairs.into(), cores, report };
    let is_wanted =
        |section: &Section| options.only.contains(section) || (options.startup && *section == Section::Startup);
    for section in Section::ALL.into_iter().filter(is_wanted) {
        eprintln!("measuring {} ...", section.name());
        if let Err(error) = section.run(&mut bench) {
            bench.report.not_run.push(format!("{}: {error}", section.name()));
        }
    }
    if options.json {
        println!("{:#}", bench.report.to_json());
    } else {
        print!("{}", bench.report);
    }
    if bench.report.not_run.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn circumstances(options: &Options, cores: Cores) -> String {
    let kernel = nix::sys::utsname::uname().map_or("unknown".into(), |name| name.release().display().to_string());
    let build = if cfg!(debug_assertions) { "; the load generator is a debug build: use --release" } else { "" };
    format!("Medians of {} runs in turn; Linux {kernel}; {}{build}.", options.pairs, cores.describe())
}
