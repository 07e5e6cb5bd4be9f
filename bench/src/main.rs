//! How fast the labs are, as ratios against minimal C programs of the same model.
//!
//! Both sides of a comparison run in turn, on the same machine and in the same minute: a ratio says something where an
//! absolute figure would only describe the machine. docs/performance.md says what is measured and why.

mod bulk;
mod chat;
mod chat_lines;
mod chat_section;
mod cores;
mod crowd;
mod flood;
mod lab6_section;
mod load;
mod many_sockets;
mod models;
mod plot;
mod report;
mod sections;
mod server;
mod startup;
mod statistics;
mod talk;
mod tools;
mod traced;
mod usage;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

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
          default_values = ["lab1", "lab2", "states", "segments", "calls", "lab6", "chat", "models", "lab3"])]
    only: Vec<Section>,

    /// Also measure the time from `make` to a listening server, in this checkout and in a fresh clone
    #[arg(long)]
    startup: bool,

    /// Draw what the models cost, and the chat, where they were measured, into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

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
    Lab6,
    Chat,
    Models,
    Lab3,
    Startup,
}

impl Section {
    const ALL: [Self; 10] = [
        Self::Lab1,
        Self::Lab2,
        Self::States,
        Self::Segments,
        Self::Calls,
        Self::Lab6,
        Self::Chat,
        Self::Models,
        Self::Lab3,
        Self::Startup,
    ];

    fn run(self, bench: &mut Bench) -> Result<(), Failure> {
        match self {
            Self::Lab1 => bench.echo(1, "lab01_echo", Some(Goal::RatioAtLeast(0.97))),
            Self::Lab2 => bench.echo(2, "lab02_raw", None),
            Self::States => bench.states(),
            Self::Segments => bench.segments(),
            Self::Calls => bench.calls(),
            Self::Lab6 => bench.lab6(),
            Self::Chat => bench.chat(),
            Self::Models => bench.models(),
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
            Self::Lab6 => "lab 6",
            Self::Chat => "chat",
            Self::Models => "models",
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
        let begun = Instant::now();
        if let Err(error) = section.run(&mut bench) {
            bench.report.not_run.push(format!("{}: {error}", section.name()));
        }
        eprintln!("    {:.0} s", begun.elapsed().as_secs_f64());
    }
    if let Some(file) = &options.plot
        && let Err(error) = fs::write(file, plot::svg(&bench.report))
    {
        bench.report.not_run.push(format!("{}: {error}", file.display()));
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
    format!(
        "Medians of {} runs in turn; {}, {} cores; Linux {kernel}; {}{build}.",
        options.pairs,
        processor(),
        std::thread::available_parallelism().map_or(1, usize::from),
        cores.describe()
    )
}

/// What the processor calls itself.
fn processor() -> String {
    let table = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = table.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown processor".into(), |(_, name)| name.to_owned())
}
