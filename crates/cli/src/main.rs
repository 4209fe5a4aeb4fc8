//! The `ulpscope` command: two copies of one LLM disagree; where does it start, what caused it,
//! does it matter?
//!
//! This binary only wires: arguments, devices, models, printing. What it knows how to do is in the
//! crates.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the part that prints")]

mod args;
mod colour;
mod commands;
mod device;
mod examples;
mod fail_on;
mod model;
mod output;
mod progress;
mod provenance;
mod screen;
mod suggestions;
mod tables;
mod tokenizers;
mod torch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use ulpscope_record::text::{printable, printable_lines};

use crate::args::{Args, Command};
use crate::commands::{Outcome, compare::Question};
use crate::progress::{Talk, to_stderr};

/// When memory runs out, that is said, and is an error like others.
#[global_allocator]
static ALLOCATOR: ulpscope_weights::Allocator = ulpscope_weights::Allocator;

fn main() -> ExitCode {
    ulpscope_weights::survive_signals();
    // Drivers of GPUs reserve more than there is.
    if !cfg!(feature = "cuda") {
        ulpscope_weights::stay_within_memory();
    }
    if let Some(refused) = device::too_small_stacks() {
        to_stderr(&format!("{} {refused}", colour::error_label()));
        return ExitCode::FAILURE;
    }
    let args = Args::try_parse().unwrap_or_else(|error| misused(&error));
    match run(args) {
        Ok(outcome) => {
            for sentence in outcome.sentences() {
                to_stderr(&format!("{} {}", colour::error_label(), printable(sentence)));
            }
            ExitCode::from(outcome.status())
        }
        Err(error) => {
            to_stderr(&format!("{} {}", colour::error_label(), commands::one_sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the arguments, or what was asked for about them.
fn misused(error: &clap::Error) -> ! {
    let unread = std::env::args_os().find(|arg| arg.to_str().is_none());
    if let Some(arg) = unread.filter(|_| error.kind() == ErrorKind::InvalidUtf8) {
        let label = colour::error_label();
        to_stderr(&format!(
            "{label} the argument {arg:?} is not UTF-8, as arguments have to be; rename the file, or link to it"
        ));
        std::process::exit(error.exit_code())
    }
    // What was asked for is to be read: a full disk is an error there, too.
    if !error.use_stderr() {
        let printed = commands::unless_unread(error.print());
        std::process::exit(i32::from(printed.is_err_and(|error| {
            to_stderr(&format!("{} {}", colour::error_label(), commands::one_sentence(&error)));
            true
        })));
    }
    let text = error.render().to_string();
    let short = printable_lines(&commands::short_words(&text)).into_owned();
    if short == text {
        error.exit();
    }
    to_stderr(short.trim_end());
    std::process::exit(error.exit_code())
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let talk = Talk::new(&args.talk);
    match args.command {
        Command::Compare(args) => commands::compare::run(&args, Question::Compare, &talk),
        Command::Explain(args) if args.traces.is_empty() => {
            commands::compare::run(&args.compare, Question::Explain, &talk)
        }
        Command::Explain(args) => commands::against::run(&args, &talk),
        Command::Weights(args) => commands::weights::run(&args, &talk),
        Command::Trace(args) => commands::trace::run(&args, &talk),
        Command::Diff(args) => commands::diff::run(&args, &talk),
        Command::Plot(args) => commands::plot::run(&args, &talk),
        Command::Report(args) => commands::report::run(&args, &talk),
        Command::Sites(args) => commands::sites::run(&args, &talk),
        Command::Families(args) => commands::families::run(&args),
        Command::Order(args) => commands::order::run(&args, &talk),
        Command::Bench(args) => commands::bench::run(&args, &talk),
        Command::Completions(args) => commands::shell::completions(&args),
        Command::Man(args) => commands::shell::man(&args),
    }
}
