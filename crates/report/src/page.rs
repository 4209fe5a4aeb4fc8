//! What every page has: head, policy, style, data, script.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ulpscope_record::text::unprintable;

/// One file for each thing that the script does, the last of which starts them.
const SCRIPT: &str = concat!(
    "(() => {\n'use strict';\n",
    include_str!("../assets/words.js"),
    include_str!("../assets/elements.js"),
    include_str!("../assets/tables.js"),
    include_str!("../assets/chart.js"),
    include_str!("../assets/map.js"),
    include_str!("../assets/site.js"),
    include_str!("../assets/curves.js"),
    include_str!("../assets/logits.js"),
    include_str!("../assets/start.js"),
    "})();\n"
);
const STYLE: &str = include_str!("../assets/page.css");

/// A whole page, with data for the script.
pub(crate) fn whole(title: &str, body: &Markup, data: &Value) -> String {
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { (PreEscaped(visible(&html! { (title) }))) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (PreEscaped(visible(body)))
                script type="application/json" id="data" { (PreEscaped(json(data))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// Controls, which HTML forbids or hides, and what reorders the text around it, become a
/// replacement character.
fn visible(markup: &Markup) -> String {
    let odd = |c: char| unprintable(c) && !matches!(c, '\n' | '\t');
    markup.0.chars().map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

/// JSON for a `<script type="application/json">`: no `<` is left that could end the element or open
/// a comment, and nothing that would reorder the page when the script puts it there.
fn json(value: &Value) -> String {
    let plain = value.to_string();
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if unprintable(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// As a content security policy names a script or style: `sha256-` and the digest in base 64.
fn hash(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            match digit <= three.len() {
                true => out.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_all_remainders() {
        assert_eq!(
            [&b""[..], b"f", b"fo", b"foo", b"foob", &[0xff, 0xfe]].map(base64),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "//4="]
        );
        // The digest of nothing, as every policy generator writes it.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn script_and_style_cannot_end_their_elements() {
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains("</"));
    }

    #[test]
    fn nothing_of_html_survives() {
        let text = "</script><img src=\"x\" onerror='y'>&\u{0}\u{202e}";
        assert_eq!(
            visible(&html! { (text) }),
            "&lt;/script&gt;&lt;img src=&quot;x&quot; onerror='y'&gt;&amp;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn json_stays_the_same_value_without_angle_brackets() {
        let value = serde_json::json!({ "</script><!--": ["a & b", "\u{2028}", 1.5] });
        let escaped = json(&value);
        assert!(!escaped.contains(['<', '>', '&', '\u{2028}']), "{escaped}");
        assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), value);
    }
}
