//! What every page has: head, policy, style, data, script.

use crate::escape;
use serde_json::Value;
use sha2::{Digest, Sha256};

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

/// A whole page around `body`, which is HTML, with data for the script.
pub(crate) fn whole(title: &str, body: &str, data: &Value) -> String {
    let (script, style) = (hash(SCRIPT), hash(STYLE));
    let (title, data) = (escape::text(title), escape::json(data));
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
{body}
<script type="application/json" id="data">{data}</script>
<script>{SCRIPT}</script>
</body>
</html>
"#
    )
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
}
