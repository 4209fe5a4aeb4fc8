//! Talk: what is said on stderr, and what is drawn there while something takes long.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ulpscope_record::text::printable;
use ulpscope_weights::Progress;

use crate::args::TalkArgs;
use crate::colour::Ink;

/// What takes less than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

const STEPS: &str = "{msg} {bar:30} {pos}/{len}, {eta} left";
const BYTES: &str = "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{spinner} {msg}, {elapsed}";

/// Says things on stderr, or keeps quiet.
pub(crate) struct Talk {
    quiet: bool,
    verbose: bool,
    bars: bool,
}

impl Talk {
    /// Progress is drawn only for a terminal.
    pub(crate) fn new(args: &TalkArgs) -> Self {
        Talk {
            quiet: args.quiet,
            verbose: args.verbose,
            bars: !args.quiet && std::io::stderr().is_terminal(),
        }
    }

    /// Whether nothing but what was asked for is to be said.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether more is to be said.
    pub(crate) fn verbose(&self) -> bool {
        self.verbose
    }

    /// One line that people should see.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            to_stderr(&printable(line));
        }
    }

    /// One line for those who asked for more.
    pub(crate) fn detail(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            to_stderr(&printable(&line()));
        }
    }

    /// Work that begins now and ends when the stage is dropped. It is drawn if it takes longer than
    /// a second, and its time is a detail.
    pub(crate) fn stage(&self, what: impl Into<String>) -> Stage<'_> {
        self.begin(what.into(), None, STEPS)
    }

    /// Progress of downloads.
    pub(crate) fn download(&self) -> Download<'_> {
        Download { talk: self, stage: None }
    }

    fn begin(&self, what: String, length: Option<u64>, template: &'static str) -> Stage<'_> {
        let what = printable(&what).into_owned();
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        bar.set_style(style(if length.is_some() { template } else { UNKNOWN }));
        bar.set_message(what.clone());
        let curtain = self.bars.then(|| Curtain::before(&bar));
        Stage { talk: self, what, begun: Instant::now(), bar, template, curtain }
    }
}

/// Writes a line to stderr. `eprintln!` would panic where nobody reads it any more.
pub(crate) fn to_stderr(line: &str) {
    _ = writeln!(std::io::stderr(), "{}", Ink::stderr().harmless(line));
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A piece of work, as long as it lives.
pub(crate) struct Stage<'a> {
    talk: &'a Talk,
    what: String,
    begun: Instant,
    bar: ProgressBar,
    template: &'static str,
    curtain: Option<Curtain>,
}

impl Stage<'_> {
    /// So many of so many steps are done.
    pub(crate) fn step(&self, done: usize, total: usize) {
        if self.bar.length() != Some(total as u64) {
            self.bar.set_style(style(self.template));
            self.bar.set_length(total as u64);
        }
        self.bar.set_position(done as u64);
    }

    /// Another stage begins in place of this one, if it has another name.
    pub(crate) fn next(&mut self, what: &str) {
        if self.what != what {
            let next = self.talk.begin(what.to_owned(), None, self.template);
            *self = next;
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        drop(self.curtain.take());
        self.bar.finish_and_clear();
        self.talk.detail(|| format!("{}: {:.3} s", self.what, self.begun.elapsed().as_secs_f64()));
    }
}

/// Hides a bar until it has lived long enough to be worth looking at.
struct Curtain {
    end: Option<Sender<()>>,
    waiting: Option<JoinHandle<()>>,
}

impl Curtain {
    fn before(bar: &ProgressBar) -> Self {
        let (end, ended) = mpsc::channel();
        let bar = bar.clone();
        let wait = move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(200));
            }
        };
        Curtain { end: Some(end), waiting: std::thread::Builder::new().spawn(wait).ok() }
    }
}

impl Drop for Curtain {
    fn drop(&mut self) {
        drop(self.end.take());
        // Otherwise the bar could be drawn after it was cleared.
        if let Some(waiting) = self.waiting.take() {
            _ = waiting.join();
        }
    }
}

/// Draws a bar for each file that is downloaded.
pub(crate) struct Download<'a> {
    talk: &'a Talk,
    stage: Option<Stage<'a>>,
}

impl Progress for Download<'_> {
    fn start(&mut self, what: &str, bytes: Option<u64>) {
        self.stage = Some(self.talk.begin(format!("fetching {what}"), bytes, BYTES));
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(stage) = &self.stage {
            stage.bar.inc(bytes);
        }
    }

    fn finish(&mut self) {
        self.stage = None;
    }
}
