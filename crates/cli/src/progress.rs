//! Talk: what is said on stderr while something takes long.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ulpscope_weights::Progress;

/// Says things on stderr, or keeps quiet.
pub(crate) struct Talk {
    quiet: bool,
    bars: bool,
}

impl Talk {
    /// Bars are drawn only for a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Talk { quiet, bars: !quiet && std::io::stderr().is_terminal() }
    }

    /// One line.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// A bar over `total` steps that appears only if the work takes longer than a second.
    pub(crate) fn steps(&self, what: &'static str, total: u64) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}, {eta} left");
        let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        bar
    }

    /// Progress of downloads.
    pub(crate) fn download(&self) -> Download<'_> {
        Download { talk: self, bar: ProgressBar::hidden() }
    }
}

/// Draws a bar for each file that is downloaded, or says one line where there is no terminal.
pub(crate) struct Download<'a> {
    talk: &'a Talk,
    bar: ProgressBar,
}

impl Progress for Download<'_> {
    fn start(&mut self, what: &str, bytes: Option<u64>) {
        if !self.talk.bars {
            self.talk.say(&format!("fetching {what}"));
            return;
        }
        let template = "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar = bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style);
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}
