//! `cargo xtask torture`: what a tool that is called for broken things must bear.

pub(crate) mod fuzz;

use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `torture`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Damaged input for every parser, in process: no panic, no hang, no memory beyond a multiple of the input
    Fuzz(fuzz::Args),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Fuzz(args) => fuzz::run(args),
    }
}
