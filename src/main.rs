//! The command `socklab`: parses, dispatches, and prints an error once.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

mod cli;

/// Commands whose exit code is a judgement, 1 meaning that it is not as it should be: where the command itself went wrong
/// there is none, and that is 2.
const JUDGES: &[&str] = &["check", "scene"];

fn main() -> ExitCode {
    let matches = cli::Cli::command().get_matches();
    let is_judge = matches.subcommand_name().is_some_and(|name| JUDGES.contains(&name));
    let cli =
        cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut cli::Cli::command()).exit());
    match cli::dispatch(cli) {
        Ok(code) => code,
        Err(problem) => {
            // Where standard error is closed too, there is nobody left to tell.
            let _ = writeln!(stderr(), "socklab: {problem}");
            if is_judge { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
