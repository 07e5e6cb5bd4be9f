//! The command `socklab`: parses, dispatches, and prints an error once.

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;

mod cli;

fn main() -> ExitCode {
    match cli::dispatch(cli::Cli::parse()) {
        Ok(code) => code,
        Err(problem) => {
            // Where standard error is closed too, there is nobody left to tell.
            let _ = writeln!(stderr(), "socklab: {problem}");
            ExitCode::FAILURE
        }
    }
}
