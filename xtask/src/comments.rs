//! The width of comments, which rustfmt's stable release leaves as they are.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Narrower than code, whose `max_width` is in `rustfmt.toml`.
const MAX_WIDTH: usize = 100;

/// Lines that are printed.
const LINES_SHOWN: usize = 20;

/// Fails if a comment is wider than the code may be, or wraps the comments in some folders.
pub(crate) fn check(fix: &[PathBuf]) -> Result<()> {
    let root = shell::root();
    if !fix.is_empty() {
        let mut files = Vec::new();
        for folder in fix {
            shell::rust_files(&root.join(folder), &mut files)?;
        }
        for file in files {
            let text = fs::read_to_string(&file)?;
            let wrapped = wrap(&text);
            if wrapped != text {
                fs::write(&file, wrapped).with_context(|| file.display().to_string())?;
            }
        }
        return Ok(());
    }
    let mut files = Vec::new();
    for folder in ["crates", "tests", "xtask"] {
        shell::rust_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut wide = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        wide.extend(wide_lines(&fs::read_to_string(&file)?).map(|line| format!("{name}:{line}")));
    }
    if !wide.is_empty() {
        let more = wide.len().saturating_sub(LINES_SHOWN);
        wide.truncate(LINES_SHOWN);
        bail!(
            "comments wider than {MAX_WIDTH} columns: {} ({more} not shown); `cargo xtask ci comments --fix FOLDER` \
             wraps them",
            wide.join(", ")
        );
    }
    Ok(())
}

/// The numbers of the lines of text that are too wide. Code and tables are as wide as they are.
fn wide_lines(text: &str) -> impl Iterator<Item = usize> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let comment = Comment::of(line);
        fenced = comment.is_some_and(|comment| fenced ^ comment.text.trim_start().starts_with("```"));
        (!fenced && comment?.flows() && is_wide(line)).then_some(i + 1)
    })
}

/// Whether a line is a comment that is too wide and can be broken.
fn is_wide(line: &str) -> bool {
    Comment::of(line).is_some_and(|comment| line.chars().count() > MAX_WIDTH && comment.text.contains(' '))
}

/// A line that is nothing but a comment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Comment<'t> {
    /// Blanks, slashes and the mark of documentation.
    start: &'t str,
    /// What follows, without the blank between.
    text: &'t str,
}

impl<'t> Comment<'t> {
    fn of(line: &'t str) -> Option<Self> {
        let blanks = line.len() - line.trim_start().len();
        let rest = &line[blanks..];
        let mark = ["///", "//!", "//"].into_iter().find(|mark| rest.starts_with(mark))?;
        let (start, text) = line.split_at(blanks + mark.len());
        Some(Self { start, text: text.strip_prefix(' ').unwrap_or(text) })
    }

    /// Begins something that is not continued from the line above: an item of a list, a table, a
    /// heading.
    fn begins(self) -> bool {
        let text = self.text.trim_start();
        item(text).is_some()
            || text.is_empty()
            || text.starts_with(['|', '#', '>'])
            || text.starts_with("```")
    }

    /// Text that may be broken anew.
    fn flows(self) -> bool {
        let text = self.text.trim_start();
        let preformatted = self.text.starts_with("    ") || text.starts_with(['|', '#', '>', '<']);
        !text.is_empty() && !preformatted && !text.starts_with("```")
    }
}

/// How wide the mark of an item of a list is.
fn item(text: &str) -> Option<usize> {
    if text.starts_with("- ") || text.starts_with("* ") || text.starts_with("+ ") {
        return Some(2);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    (digits > 0 && text[digits..].starts_with(". ")).then_some(digits + 2)
}

/// Breaks the paragraphs of comments anew that have a line that is too wide. All others stay as
/// they are.
fn wrap(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut wrapped: Vec<String> = Vec::new();
    let mut fenced = false;
    let mut i = 0;
    while i < lines.len() {
        let Some(first) = Comment::of(lines[i]) else {
            fenced = false;
            wrapped.push(lines[i].to_owned());
            i += 1;
            continue;
        };
        fenced ^= first.text.trim_start().starts_with("```");
        let follows = |line: &&&str| {
            Comment::of(line).is_some_and(|next| next.start == first.start && !next.begins() && next.flows())
        };
        let end = if fenced || !first.flows() {
            i + 1
        } else {
            i + 1 + lines[i + 1..].iter().take_while(follows).count()
        };
        let paragraph = &lines[i..end];
        if !fenced && first.flows() && paragraph.iter().any(|line| is_wide(line)) {
            wrapped.extend(paragraph_of(first, paragraph));
        } else {
            wrapped.extend(paragraph.iter().map(|line| (*line).to_owned()));
        }
        i = end;
    }
    wrapped.join("\n") + if text.ends_with('\n') { "\n" } else { "" }
}

/// A paragraph in lines as wide as they may be.
fn paragraph_of(first: Comment<'_>, lines: &[&str]) -> Vec<String> {
    let indent = first.text.len() - first.text.trim_start().len();
    let hanging = indent + item(first.text.trim_start()).unwrap_or(0);
    let words = words(lines.iter().filter_map(|line| Some(Comment::of(line)?.text)));
    let mut wrapped = Vec::new();
    let mut line = format!("{} {}", first.start, " ".repeat(indent));
    let mut empty = true;
    for word in words {
        if !empty && line.chars().count() + 1 + word.chars().count() > MAX_WIDTH {
            wrapped.push(line);
            line = format!("{} {}", first.start, " ".repeat(hanging));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&word);
        empty = false;
    }
    wrapped.push(line);
    wrapped
}

/// What a line may be broken between: words, but for those within a piece of code, and for what
/// would begin a list.
fn words<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut code = false;
    for word in lines.flat_map(str::split_whitespace) {
        let begins_a_list = matches!(word, "-" | "*" | "+" | ">" | "|")
            || word.starts_with('#')
            || item(&format!("{word} ")).is_some();
        match words.last_mut() {
            // The mark of an item, too, stays with what it is the mark of: its line has begun.
            Some(last) if code || begins_a_list => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        code ^= word.matches('`').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_paragraph_is_broken_and_its_neighbours_are_not() {
        let long = "word ".repeat(30);
        let text = format!("/// Short,\n/// as it was.\n///\n/// {long}\n/// end.\nfn f() {{}}\n");
        let wrapped = wrap(&text);
        assert!(wrapped.starts_with("/// Short,\n/// as it was.\n///\n/// word word"), "{wrapped}");
        assert!(wrapped.ends_with("word end.\nfn f() {}\n"), "{wrapped}");
        assert!(wrapped.lines().all(|line| line.chars().count() <= MAX_WIDTH && !line.ends_with(' ')));
        assert_eq!(wrap(&wrapped), wrapped);
    }

    #[test]
    fn lists_hang_and_code_and_tables_stay() {
        let long = "word ".repeat(30);
        let long = long.trim();
        let kept =
            format!("//! ```text\n//! {long}\n//! ```\n//! | {long} |\n//! # {long}\n//!     {long}\n");
        assert_eq!(wrap(&kept), kept);
        assert_eq!(wide_lines(&kept).count(), 0);
        let list = format!("    // - {long}\n    //   more\n    // - second\n");
        let wrapped: Vec<String> = wrap(&list).lines().map(str::to_owned).collect();
        assert!(wrapped[0].starts_with("    // - word"), "{wrapped:?}");
        assert!(wrapped[1].starts_with("    //   word") && wrapped[1].ends_with("word more"), "{wrapped:?}");
        assert_eq!(wrapped[2], "    // - second");
    }

    #[test]
    fn a_line_begins_neither_within_code_nor_with_the_mark_of_a_list() {
        assert_eq!(words(["a `b c` d", "- e"].into_iter()), ["a", "`b c`", "d -", "e"]);
        assert_eq!(words(["in 3. of"].into_iter()), ["in 3.", "of"]);
    }

    #[test]
    fn code_and_long_addresses_are_no_wide_comments() {
        let long = "x".repeat(120);
        assert!(!is_wide(&format!("// {long}")) && !is_wide(&long));
        assert!(is_wide(&format!("// {long} y")));
    }
}
