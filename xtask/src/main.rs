//! Reproducible experiments, fixtures and checks: `cargo xtask help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod api;
mod bench;
mod ci;
mod comments;
mod dependencies;
mod dist;
mod experiment;
mod faults;
mod fixtures;
mod memory;
mod python;
mod shell;
mod supply;
#[cfg(unix)]
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ulpscope_record::text::one_sentence;

/// Reproducible experiments, fixtures and checks.
#[derive(Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an experiment, by default the founding one, and write its record, summary and pictures
    Experiment(experiment::Args),
    /// Measure time and memory against PyTorch in one session, and print the table (needs Python; a
    /// network once)
    Bench(bench::Args),
    /// Make the test fixtures anew with PyTorch (needs Python and a network)
    Fixtures(fixtures::Args),
    /// Peak memory of a comparison as the model grows from 0.1 to 7 billion parameters (needs 14 GB
    /// of disk)
    Memory(memory::Args),
    /// Put faults into a model one by one, and count how often `ulpscope explain` finds where and
    /// why
    Faults(faults::Args),
    /// Write shell completions and manual pages, for packages
    Dist(dist::Args),
    /// Kill it, fill its disk, damage its input, take its memory away: how much of that it survives
    #[cfg(unix)]
    Torture(torture::Args),
    /// What CI runs beside the tests: format, lints, docs, dependencies, CUDA type-check, one real
    /// run
    Ci(ci::Args),
}

fn main() -> ExitCode {
    if let Some(code) = api::as_rustdoc() {
        return code;
    }
    let result = match Args::parse().command {
        Command::Experiment(args) => experiment::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fixtures(args) => fixtures::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Dist(args) => dist::run(&args),
        #[cfg(unix)]
        Command::Torture(args) => torture::run(&args),
        Command::Ci(args) => ci::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {}", one_sentence(error.chain().map(ToString::to_string)));
            ExitCode::FAILURE
        }
    }
}
