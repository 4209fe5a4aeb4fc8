//! The commands, one file each.

pub(crate) mod against;
pub(crate) mod arms;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod diff;
pub(crate) mod families;
pub(crate) mod order;
pub(crate) mod plot;
pub(crate) mod report;
pub(crate) mod runs;
pub(crate) mod shell;
pub(crate) mod sites;
pub(crate) mod trace;
pub(crate) mod weights;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use ulpscope_record::text::{self, shortened};

use crate::colour::Ink;

/// How a command ended, if not with an error.
pub(crate) enum Outcome {
    /// It did what was asked, whatever it found.
    Done,
    /// It did, and found what `--fail-on` was to look out for.
    Failed(Vec<String>),
    /// It did, but too little was compared for a verdict.
    Undecided(Vec<String>),
}

impl Outcome {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed(_) => 3,
            Outcome::Undecided(_) => 4,
        }
    }

    /// What is to be said about it on stderr.
    pub(crate) fn sentences(&self) -> &[String] {
        match self {
            Outcome::Done => &[],
            Outcome::Failed(sentences) | Outcome::Undecided(sentences) => sentences,
        }
    }

    /// The same after printing. What was found is said by the status even where it can't be
    /// printed; without a finding, that is the error.
    pub(crate) fn printed(mut self, printed: Result<()>) -> Result<Self> {
        match (&mut self, printed) {
            (Outcome::Done, Err(error)) => return Err(error),
            (Outcome::Failed(sentences) | Outcome::Undecided(sentences), Err(error)) => {
                sentences.push(one_sentence(&error));
            }
            (_, Ok(())) => {}
        }
        Ok(self)
    }
}

/// Writes results to stdout. `println!` would panic where the disk is full or nobody reads any
/// more.
pub(crate) fn print(text: &str) -> Result<()> {
    let text = Ink::stdout().harmless(text);
    let mut out = std::io::stdout().lock();
    unless_unread(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Whoever reads no more of stdout has seen enough: that is no error, and changes no status.
pub(crate) fn unless_unread(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output can't be written"),
    }
}

/// Writes JSON to stdout.
pub(crate) fn print_json(value: &Value) -> Result<()> {
    print(&text::printable_json(&(serde_json::to_string_pretty(value)? + "\n")))
}

/// Says which files were written: a line each, or as JSON.
pub(crate) fn print_files(files: &[PathBuf], json: bool) -> Result<()> {
    if json {
        return print_json(
            &json!({ "files": files.iter().map(|f| f.to_string_lossy()).collect::<Vec<_>>() }),
        );
    }
    files.iter().try_for_each(|file| print(&(text::printable(&file.to_string_lossy()) + "\n")))
}

/// A number as records write it: JSON has no NaN and no infinities, so that these are words.
pub(crate) fn json_number(x: f64) -> Value {
    match x {
        x if x.is_nan() => json!("NaN"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        x => json!(x),
    }
}

/// An error with its causes on one line.
pub(crate) fn one_sentence(error: &anyhow::Error) -> String {
    let text = text::one_sentence(error.chain().map(ToString::to_string));
    // Names out of files are quoted in errors, and must not be able to write to the terminal, or to
    // fill it.
    short_words(&text::printable(&text))
}

/// A text in which no word is longer than any name should be.
pub(crate) fn short_words(text: &str) -> String {
    const MOST: usize = 400;
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let name = word.trim_end();
            if name.chars().count() <= MOST {
                word.to_owned()
            } else {
                shortened(name, MOST) + &word[name.len()..]
            }
        })
        .collect()
}
