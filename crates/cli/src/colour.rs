//! Emphasis on a terminal, applied where a text is written. Everything can be read without it.

use std::ffi::OsStr;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use ulpscope_record::Consequence;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const ALARM: Style = AnsiColor::Red.on_default().bold();

/// What a stream may be written with: styles, or nothing but the text.
#[derive(Clone, Copy)]
pub(crate) struct Ink {
    coloured: bool,
}

impl Ink {
    pub(crate) fn stdout() -> Self {
        Ink::of(std::io::stdout().is_terminal())
    }

    pub(crate) fn stderr() -> Self {
        Ink::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let variable = |name| std::env::var_os(name);
        Ink { coloured: allowed(terminal, variable("NO_COLOR").as_deref(), variable("TERM").as_deref()) }
    }

    /// The text in this style, if the stream may have any.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// How loud a consequence is; one that nobody judged is merely bold.
pub(crate) fn of_consequence(consequence: Option<Consequence>) -> Style {
    match consequence {
        Some(Consequence::ChangesOutput) => ALARM,
        Some(Consequence::AboveNoise) => AnsiColor::Yellow.on_default().bold(),
        Some(Consequence::Equal) => AnsiColor::Green.on_default().bold(),
        Some(Consequence::Undecided) => AnsiColor::Blue.on_default().bold(),
        _ => BOLD,
    }
}

/// The name of the program in front of an error.
pub(crate) fn error_label() -> String {
    Ink::stderr().paint(ALARM, "ulpscope:")
}

/// `NO_COLOR` forbids colour whatever its value, unless that is empty.
fn allowed(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb"))
}

#[cfg(test)]
impl Ink {
    pub(crate) const PLAIN: Ink = Ink { coloured: false };
    pub(crate) const COLOURED: Ink = Ink { coloured: true };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_may_be_coloured_is() {
        let set = |text| Some(OsStr::new(text));
        assert!(allowed(true, None, set("xterm")));
        assert!(allowed(true, set(""), None));
        assert!(!allowed(true, set("1"), set("xterm")));
        assert!(!allowed(true, set("0"), None));
        assert!(!allowed(true, None, set("dumb")));
        assert!(!allowed(false, None, set("xterm")));
    }

    #[test]
    fn emphasis_adds_nothing_but_itself() {
        assert_eq!(Ink::PLAIN.paint(ALARM, "x"), "x");
        let painted = Ink::COLOURED.paint(ALARM, "x");
        assert!(painted.starts_with('\x1b') && painted.ends_with("x\x1b[0m"), "{painted:?}");
    }
}
