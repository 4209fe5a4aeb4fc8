//! `cargo xtask fixtures`: runs the scripts that make the fixtures, in a virtual environment of
//! their own.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::{python, shell};

/// Packages that the fixtures were made with; results depend on their versions.
const PACKAGES: [&str; 6] =
    ["torch==2.15.0", "transformers==5.23.0", "tokenizers", "safetensors", "gguf==0.19.0", "numpy"];

/// Arguments of `fixtures`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Python with the packages already installed, instead of a virtual environment made for this
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let python = match &args.python {
        Some(python) => python.clone(),
        None => python::environment("fixtures-venv", &PACKAGES)?,
    };
    shell::run(Command::new(python).arg("tests/fixtures/make.py").current_dir(shell::root()))?;
    Ok(ExitCode::SUCCESS)
}
