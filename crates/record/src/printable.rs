//! A record whose strings do nothing but stand there.

use std::borrow::Cow;

use serde_json::Value;

use crate::schema::RunRecord;
use crate::text::{printable, unprintable};

/// Texts that models and people wrote. Lines are part of them, so that whoever shows them escapes
/// or quotes them.
const TEXTS: [&str; 4] = ["text", "tokens", "token_texts", "continuations"];

impl RunRecord {
    /// The record with every string [`printable`], so that no name, reason or relation out of a
    /// file can write to a terminal or begin a line; prompts and tokens are left to whoever quotes
    /// them.
    pub fn printable(&self) -> Cow<'_, Self> {
        if !self.has_odd_names() {
            return Cow::Borrowed(self);
        }
        let walked = serde_json::to_value(self).and_then(|mut value| {
            walk(&mut value);
            serde_json::from_value(value)
        });
        walked.map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// Without the numbers of sites and logits, which are most of a record.
    fn has_odd_names(&self) -> bool {
        let RunRecord { provenance, settings, model, arms, weights, buffers, first, .. } = self;
        let rest = (&self.coverage, &self.explanation);
        let names =
            serde_json::to_string(&(provenance, settings, model, arms, weights, buffers, first, rest));
        let odd = |text: &str| text.chars().any(unprintable);
        // Controls are behind a backslash in JSON.
        names.is_ok_and(|names| names.contains('\\') || odd(&names))
            || self.sites.iter().any(|site| odd(&site.site))
    }
}

fn walk(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = printable(text) {
                *text = shown;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(walk),
        Value::Object(fields) => {
            fields.iter_mut().filter(|(key, _)| !TEXTS.contains(&key.as_str())).for_each(|(_, v)| walk(v));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_printable_and_stay_the_same_names() {
        let mut record = RunRecord::from_json(include_str!("../tests/small.json")).unwrap();
        assert!(matches!(record.printable(), Cow::Borrowed(_)));
        record.arms[1].name = "b\n\u{1b}[2J".into();
        record.sites.iter_mut().for_each(|site| site.arm = record.arms[1].name.clone());
        record.prompts[0].text = Some("two\nlines".into());
        let shown = record.printable();
        assert_eq!(shown.arms[1].name, r"b\n\u{1b}[2J");
        assert!(shown.sites.iter().all(|site| site.arm == shown.arms[1].name));
        assert_eq!(shown.prompts, record.prompts);
    }
}
