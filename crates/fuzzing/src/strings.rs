//! Every string of a file of JSON, made into one that wants to be more than read.

use std::collections::BTreeSet;

/// What is put behind a string: a line of its own, a terminal's commands, marks that turn the
/// direction of writing, a table's cell, code, an element, a link.
pub const HOSTILE: &str = "\n# INJECTED\r\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{feff} | `x` <img src=x> [l](//h) http://h.example";

/// `json` with [`HOSTILE`] behind a string, wherever that string is a value: once for each string
/// for which `fits` the outcome, and first of all with all of those.
pub fn hostile(json: &str, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let parts = split(json);
    let payload: String = HOSTILE
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    let with = |chosen: &BTreeSet<&str>| -> String {
        let changed = |(text, value): &(&str, bool)| match *value && chosen.contains(text) {
            true => format!("{text}{payload}"),
            false => (*text).to_owned(),
        };
        parts.iter().map(changed).collect()
    };
    let strings: BTreeSet<&str> = parts.iter().filter(|(_, value)| *value).map(|(text, _)| *text).collect();
    let (mut all, mut each) = (BTreeSet::new(), Vec::new());
    for string in strings {
        let alone = with(&BTreeSet::from([string]));
        if !fits(&alone) {
            continue;
        }
        each.push(alone);
        all.insert(string);
        if !fits(&with(&all)) {
            all.remove(string);
        }
    }
    each.insert(0, with(&all));
    each
}

/// What in a text is more than text; nothing of one that people may be shown.
pub fn injected(text: &str) -> Option<String> {
    let odd = |c: &char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{200b}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let line = text.lines().find(|line| line.trim_start().starts_with("# INJECTED"));
    line.map(str::to_owned).or_else(|| {
        let at = text.char_indices().find(|(_, c)| odd(c))?.0;
        let before = text[..at].char_indices().rev().nth(80).map_or(0, |(at, _)| at);
        Some(text[before..].chars().take(120).map(|c| c.escape_debug().to_string()).collect())
    })
}

/// The text between quotes, each with whether it is a value, and what is between those.
fn split(json: &str) -> Vec<(&str, bool)> {
    let (mut parts, mut rest) = (Vec::new(), json);
    while let Some(start) = rest.find('"') {
        let (before, string) = rest.split_at(start + 1);
        parts.push((before, false));
        let mut escaped = false;
        let end = string.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (string, after) = string.split_at(end.unwrap_or(string.len()));
        let key = after.get(1..).is_some_and(|after| after.trim_start().starts_with(':'));
        parts.push((string, !key));
        let (quote, after) = after.split_at(after.len().min(1));
        parts.push((quote, false));
        rest = after;
    }
    parts.push((rest, false));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_changed_and_keys_stay() {
        let json = r#"{"a": "b", "c\"": ["d\\", "b"], "n": 1}"#;
        assert_eq!(split(json).iter().map(|(text, _)| *text).collect::<String>(), json);
        let all = hostile(json, |_| true);
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].matches("INJECTED").count(), 3);
        assert!(
            all[1].starts_with(r##"{"a": "b\u000a# INJ"##) && all[1].contains(r#""c\"": ["d\\", "b\u000a"#)
        );
        assert!(all[2].contains(r#""a": "b", "c"#));
        assert_eq!(hostile(json, |text| !text.contains("d\\\\\\u000a"))[0].matches("INJECTED").count(), 2);
    }

    #[test]
    fn what_is_injected_is_found() {
        for text in ["a\n# INJECTED", "a\u{1b}", "a\r", "\u{202e}", "\u{9b}"] {
            assert!(injected(text).is_some(), "{text:?}");
        }
        assert_eq!(injected("a\\u{1b} # INJECTED\n\tb"), None);
    }
}
