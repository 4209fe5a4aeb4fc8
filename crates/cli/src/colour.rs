//! Emphasis on a terminal. Everything can be read without it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::IsTerminal;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";

/// What a table says in so many words, and people look for.
const LOUD: [&str; 1] = ["DIFFERENT"];

/// What a line begins with that sums up others.
const TITLES: [&str; 6] = [
    "first site that differs:",
    "no site differs:",
    "explained:",
    "unexplained:",
    "no difference:",
    "incomplete:",
];

/// Text for stdout, emphasised if that is a terminal and may be coloured.
pub(crate) fn for_stdout(text: &str) -> Cow<'_, str> {
    if wanted(std::io::stdout().is_terminal()) { Cow::Owned(emphasised(text)) } else { Cow::Borrowed(text) }
}

/// The name of the program in front of an error.
pub(crate) fn error_label() -> String {
    if wanted(std::io::stderr().is_terminal()) {
        format!("{RED}ulpscope:{RESET}")
    } else {
        "ulpscope:".to_owned()
    }
}

fn wanted(terminal: bool) -> bool {
    let variable = |name| std::env::var_os(name);
    allowed(terminal, variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

/// `NO_COLOR` forbids colour whatever its value, unless that is empty.
fn allowed(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term != Some(OsStr::new("dumb"))
}

fn emphasised(text: &str) -> String {
    let line = |line: &str| {
        let mut line = line.to_owned();
        for word in LOUD {
            line = line.replace(word, &format!("{RED}{word}{RESET}"));
        }
        for title in TITLES {
            if let Some(rest) = line.strip_prefix(title) {
                line = format!("{BOLD}{title}{RESET}{rest}");
            }
        }
        line
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
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
        let text = "x  DIFFERENT  y\nexplained: by z\nunexplained\n";
        let shown = emphasised(text);
        assert_eq!(shown, "x  \x1b[1;31mDIFFERENT\x1b[0m  y\n\x1b[1mexplained:\x1b[0m by z\nunexplained\n");
        assert_eq!(shown.replace(RED, "").replace(BOLD, "").replace(RESET, ""), text);
    }
}
