//! What was understood of a recording, in words.

use std::fmt;

use ulpscope_record::text::plural;

use crate::trace::reading::Note;

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Names { renamed, split, shaped } => {
                let parts = [
                    (*renamed, "under another name"),
                    (*split, "in a fused tensor, split by the config"),
                    (*shaped, "in another shape"),
                ];
                let parts: Vec<String> = (parts.iter().filter(|(count, _)| *count > 0))
                    .map(|(count, how)| format!("{count} {how}"))
                    .collect();
                write!(f, "Sites of another engine: {}.", parts.join(", "))
            }
            Note::Padding { left, right } => {
                let part = |count: &usize, side: &str| match count {
                    0 => None,
                    1 => Some(format!("1 token of padding on the {side}")),
                    _ => Some(format!("{count} tokens of padding on the {side}")),
                };
                let parts: Vec<String> = part(left, "left").into_iter().chain(part(right, "right")).collect();
                write!(f, "{}; compared are the tokens beside them.", parts.join(" and "))
            }
            Note::Prefix(tokens) => write!(
                f,
                "Recorded behind a cached prefix of {}, which ours computes; compared are the tokens behind it.",
                plural(*tokens, "token")
            ),
            Note::Autocast(dtype) => write!(
                f,
                "Recorded under autocast: parameters in f32, products in {dtype}, norms and sums in f32; ours computes in {dtype}."
            ),
            Note::Recast { sites, first, theirs, ours } => write!(
                f,
                "In another format at {}: {first} is in {theirs} in the trace and in {ours} in ours; compared are the numbers.",
                plural(*sites, "site")
            ),
            Note::LogProbabilities => {
                f.write_str("The logits are log-probabilities: compared as distributions, not as a site.")
            }
        }
    }
}
