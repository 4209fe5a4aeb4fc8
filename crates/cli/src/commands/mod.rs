//! The commands, one file each.

pub(crate) mod arms;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod diff;
pub(crate) mod order;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod sites;
pub(crate) mod trace;
pub(crate) mod weights;

use std::io::Write;

use anyhow::{Context, Result};

/// How a command ended, if not with an error.
pub(crate) enum Outcome {
    /// It did what was asked, whatever it found.
    Done,
    /// It did, and found what `--fail-on` was to look out for.
    Failed(Vec<String>),
}

/// Writes results to stdout. `println!` would panic where the disk is full or nobody reads any more.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output can't be written")
}

/// An error with its causes on one line. A cause that its effect already quotes is not said twice.
pub(crate) fn one_sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    // Names out of files are quoted in errors, and must not be able to write to the terminal.
    text.chars().map(|c| if c.is_control() && c != '\n' { '·' } else { c }).collect()
}
