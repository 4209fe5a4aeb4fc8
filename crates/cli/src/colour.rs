//! Emphasis on a terminal, applied where a text is written. Everything can be read without it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use ulpscope_record::Consequence;
use ulpscope_record::text::printable_lines;

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

    /// The last look at what is written: nothing but lines of text, and our own styles where the
    /// stream may have any.
    pub(crate) fn harmless(self, text: &str) -> Cow<'_, str> {
        let mut parts = text.split('\u{1b}');
        let first = printable_lines(parts.next().unwrap_or_default());
        parts.fold(first, |before, part| {
            let code = part.strip_prefix('[').and_then(|part| Some(part.split_once('m')?.0));
            let ours = self.coloured && code.is_some_and(|code| CODES.contains(&code));
            before + if ours { "\u{1b}" } else { "\\u{1b}" } + printable_lines(part)
        })
    }
}

/// What the styles above are written with, between `ESC [` and `m`.
const CODES: [&str; 6] = ["0", "1", "31", "32", "33", "34"];

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
    fn only_our_own_styles_are_written() {
        let text =
            format!("{}\n\u{9b}31m\u{1b}[8mx\u{1b}]0;title\u{7}\u{202e}\r", Ink::COLOURED.paint(ALARM, "a"));
        let rest = "\n\\u{9b}31m\\u{1b}[8mx\\u{1b}]0;title\\u{7}\\u{202e}\\u{d}";
        assert_eq!(Ink::COLOURED.harmless(&text), Ink::COLOURED.paint(ALARM, "a") + rest);
        assert!(!Ink::PLAIN.harmless(&text).contains('\u{1b}'));
        assert!(matches!(Ink::PLAIN.harmless("plain\n\ttext"), Cow::Borrowed(_)));
    }

    #[test]
    fn emphasis_adds_nothing_but_itself() {
        assert_eq!(Ink::PLAIN.paint(ALARM, "x"), "x");
        let painted = Ink::COLOURED.paint(ALARM, "x");
        assert!(painted.starts_with('\x1b') && painted.ends_with("x\x1b[0m"), "{painted:?}");
    }
}
