//! How numbers are worded for people, in tables, pages and pictures alike, and how text that comes
//! out of files is kept from doing more than being read.

use std::borrow::Cow;

/// Whether a character does something else than stand for itself: controls, what turns the
/// direction of writing, line separators, what is not seen, non-characters. The joiners that
/// Persian, Hindi and emoji are written with are text.
///
/// ```
/// use ulpscope_record::text::unprintable;
///
/// assert!(['\n', '\u{1b}', '\u{9b}', '\u{202e}', '\u{feff}'].into_iter().all(unprintable));
/// assert!(!['a', ' ', '日', '\u{200d}'].into_iter().any(unprintable));
/// ```
pub fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'..='\u{e007f}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// `text` on one line, with what is [`unprintable`] escaped as Rust does.
///
/// ```
/// use ulpscope_record::text::printable;
///
/// assert_eq!(printable("a\nb\u{1b}[31m\u{202e}c"), r"a\nb\u{1b}[31m\u{202e}c");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, unprintable, |c, out| match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => out.extend(c.escape_unicode()),
    })
}

/// As [`printable`], but for the lines of a text of our own: they stay lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let odd = |c: char| unprintable(c) && !matches!(c, '\n' | '\t');
    escaped(text, odd, |c, out| out.extend(c.escape_unicode()))
}

/// JSON that has the same value and holds nothing that is [`unprintable`].
///
/// ```
/// use ulpscope_record::text::printable_json;
///
/// assert_eq!(printable_json("[\n \"\u{202e}\u{e0001}\"]"), "[\n \"\\u202e\\udb40\\udc01\"]");
/// ```
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let odd = |c: char| unprintable(c) && c != '\n';
    escaped(json, odd, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

fn escaped(text: &str, odd: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(&odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| if odd(c) { escape(c, &mut out) } else { out.push(c) });
    Cow::Owned(out)
}

/// Four significant digits: `0.08123`, `2.100e-5`, `0`, `NaN`.
///
/// ```
/// use ulpscope_record::text::number;
///
/// assert_eq!([number(0.0), number(0.0812345), number(2.1e-5)], ["0", "0.08123", "2.100e-5"]);
/// ```
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        // The words of the record.
        return if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
    }
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.3e}");
    }
    let before_point = size.log10().floor() as i32;
    format!("{value:.*}", usize::try_from(3 - before_point).unwrap_or(0))
}

/// Two significant digits, for a sentence: `0.53`, `350`, `1.4e-5`.
///
/// ```
/// use ulpscope_record::text::brief;
///
/// assert_eq!([0.5264, 0.00152, 1.0, 346.2, 1.4e-5, 0.0].map(brief), ["0.53", "0.0015", "1", "350", "1.4e-5", "0"]);
/// ```
pub fn brief(value: f64) -> String {
    // Rounded first: 99.9 has as many digits before its point as 100.
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    match rounded.abs() {
        size if size == 0.0 || !size.is_finite() => number(value),
        size if (1e-3..1e6).contains(&size) => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}

/// `text` in lines of at most `width` characters, broken between words; a longer word is broken
/// where it must be. What could write to a terminal is escaped.
///
/// ```
/// use ulpscope_record::text::wrapped;
///
/// assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
/// assert_eq!(wrapped("model.layers.0", 9), ["model.", "layers.0"]);
/// ```
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut word = printable(word).into_owned();
        let mut length = word.chars().count();
        if used > 0 && used + 1 + length <= width {
            lines.last_mut().expect("there is a line").push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while length > width {
            let most = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            // Names are broken behind a point or a slash, if they have one there.
            let at = word[..most].rfind(['.', '/', '_', ',']).map_or(most, |at| at + 1);
            let rest = word.split_off(at);
            lines.last_mut().expect("there is a line").push_str(&word);
            lines.push(String::new());
            (length, word) = (rest.chars().count(), rest);
        }
        lines.last_mut().expect("there is a line").push_str(&word);
        used += length;
    }
    lines
}

/// A fraction in per cent. Only 1 is written `100 %` and only 0 `0 %`: whether every bit agrees is
/// the question, so rounding must not answer it.
///
/// ```
/// use ulpscope_record::text::percent;
///
/// assert_eq!([percent(1.0), percent(0.999999), percent(0.34)], ["100 %", ">99.99 %", "34.00 %"]);
/// ```
pub fn percent(fraction: f64) -> String {
    match fraction {
        _ if fraction.is_nan() => "NaN".to_owned(),
        1.0 => "100 %".to_owned(),
        0.0 => "0 %".to_owned(),
        _ if fraction > 0.9999 && fraction < 1.0 => ">99.99 %".to_owned(),
        _ if fraction < 0.0001 && fraction > 0.0 => "<0.01 %".to_owned(),
        _ => format!("{:.2} %", fraction * 100.0),
    }
}

/// `1 token`, `2 tokens`.
pub fn plural(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// `text` with at most `most` characters, the last an ellipsis if it had more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A name out of a file, as an error may quote it: on one line, printable, and not as long as a
/// page.
pub fn shown(name: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    match name.char_indices().nth(MAX_CHARACTERS) {
        // Cut first: a name may be as long as a file.
        Some((at, _)) => shortened(&printable(&name[..at]), MAX_CHARACTERS) + "…",
        None => shortened(&printable(name), MAX_CHARACTERS),
    }
}

/// An error and its causes in one sentence. A cause that its effect already quotes is left out.
///
/// ```
/// use ulpscope_record::text::one_sentence;
///
/// let causes = ["run: cannot be read: not found", "not found", "os error 2"].map(str::to_owned);
/// assert_eq!(one_sentence(causes), "run: cannot be read: not found: os error 2");
/// ```
pub fn one_sentence(causes: impl IntoIterator<Item = String>) -> String {
    causes.into_iter().fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        text if text.contains(&cause) => text.to_owned(),
        text => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let worded = [1.0, -0.5, 123.456, 99999.0, 100000.0, 0.001, 0.00099, f64::MAX].map(number);
        assert_eq!(
            worded,
            ["1.000", "-0.5000", "123.5", "99999", "1.000e5", "0.001000", "9.900e-4", "1.798e308"]
        );
        assert_eq!(
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0].map(number),
            ["NaN", "inf", "-inf", "0"]
        );
    }

    #[test]
    fn rounding_never_claims_all_or_nothing() {
        assert_eq!(
            [0.99995, 0.99, 0.00005, 0.001, f64::NAN].map(percent),
            [">99.99 %", "99.00 %", "<0.01 %", "0.10 %", "NaN"]
        );
    }

    #[test]
    fn lines_are_no_wider_than_asked_for_and_lose_nothing() {
        let text = "x model.layers.0.self_attn.q_proj.weight é日本語日本語 \u{1b}[31m  end";
        for width in 0..60 {
            let lines = wrapped(text, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(1)), "{width}: {lines:?}");
            let all = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(all(&lines.concat()), all(&printable(text)), "{width}");
        }
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!([99.9, 0.0999, -12.34, f64::INFINITY].map(brief), ["100", "0.1", "-12", "inf"]);
    }

    #[test]
    fn shortening_counts_characters_not_bytes() {
        assert_eq!(shortened("日本語のテキスト", 4), "日本語…");
        assert_eq!(shortened("日本語", 3), "日本語");
        assert_eq!(shortened("ab", 0), "…");
    }
}
