//! Where a value begins and ends in a text that need not be whole JSON.

use std::ops::Range;

use crate::Random;

/// A value somewhere in the text: a string, a number, a word, a list or an object.
pub(crate) fn some_value(text: &[u8], random: &mut Random) -> Option<Range<usize>> {
    if text.is_empty() {
        return None;
    }
    let from = random.below(text.len());
    let starts = |at: usize| {
        let before = at.checked_sub(1).and_then(|i| text.get(i)).copied().unwrap_or(b' ');
        match text[at] {
            b'{' | b'[' => true,
            b'"' => before != b'\\',
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                matches!(before, b':' | b'[' | b',' | b' ' | b'=' | b'\n')
            }
            _ => false,
        }
    };
    let start = (from..text.len().min(from + 256)).find(|&at| starts(at))?;
    Some(start..end(text, start))
}

/// Where the value that begins at `start` ends.
fn end(text: &[u8], start: usize) -> usize {
    let string = |from: usize| {
        let mut at = from + 1;
        while at < text.len() {
            match text[at] {
                b'\\' => at += 2,
                b'"' => return at + 1,
                _ => at += 1,
            }
        }
        text.len()
    };
    match text[start] {
        b'"' => string(start),
        b'{' | b'[' => {
            let (mut at, mut depth) = (start, 0usize);
            while at < text.len() {
                match text[at] {
                    b'"' => {
                        at = string(at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            text.len()
        }
        _ => {
            let word = |b: &u8| b.is_ascii_alphanumeric() || b"+-._".contains(b);
            text[start..].iter().position(|b| !word(b)).map_or(text.len(), |length| start + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_do() {
        let text = br#"{"a": [1, "x\"]", {"b": null}], "c": -1.5e3}"#;
        let value = |start: usize| std::str::from_utf8(&text[start..end(text, start)]).unwrap();
        assert_eq!(value(0).len(), text.len());
        assert_eq!(value(1), "\"a\"");
        assert_eq!(value(6), r#"[1, "x\"]", {"b": null}]"#);
        assert_eq!(value(10), r#""x\"]""#);
        assert_eq!(value(37), "-1.5e3");
        assert_eq!(end(b"[[\"", 0), 3);
        assert_eq!(end(b"\"\\", 0), 2);
    }
}
