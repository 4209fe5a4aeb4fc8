//! What logits alone tell, and what they can't.

use ulpscope_record::text::plural;
use ulpscope_record::{Explanation, Row, Status, Topic};

use super::judgement::row;
use super::short;
use super::trace::gap;
use crate::trace::known::Known;
use crate::trace::logits_only::LogitsAlone;

/// Rows of a judgement on a recording of logits alone; `asked` says that nothing else was asked
/// for.
pub(crate) fn rows(known: &Known, found: &Explanation, alone: &LogitsAlone, asked: bool) -> Vec<Row> {
    let &LogitsAlone { positions, prompts, most: (most, prompt, position), .. } = alone;
    let of = if prompts > 1 { format!(" of {prompts} prompts") } else { String::new() };
    let at = match prompts > 1 {
        true => format!("position {position} of prompt {prompt}"),
        false => format!("position {position}"),
    };
    let mut texts: Vec<String> = known.recorded.notes.iter().map(ToString::to_string).collect();
    texts.push(format!("Logits alone were recorded, of {}{of}.", plural(positions, "position")));
    texts.push(format!(
        "KL {}, at most {} at {at}; the most likely token flips at {} of {positions}.",
        short(alone.kl),
        short(most),
        alone.flips
    ));
    if !found.floor.logits.is_empty() {
        texts.push(format!(
            "Our own logits in other orders of summation: KL {}, at most {}; {:.1} flips.",
            short(alone.floor),
            short(alone.floor_most),
            alone.floor_flips
        ));
    }
    texts.push(match alone.status() {
        Status::NoDifference => "Every logit has our bits.".to_owned(),
        Status::Explained => "That is no more than an order of summation makes.".to_owned(),
        _ if alone.floor_most > 0.0 => format!(
            "That is {:.1} times the largest of these: something else than an order of summation differs.",
            alone.kl / alone.floor_most
        ),
        _ => "That is more than an order of summation makes.".to_owned(),
    });
    let mut rows: Vec<Row> = texts.into_iter().map(|text| row(Topic::Cause, text)).collect();
    rows.push(row(
        Topic::Fix,
        "Logits alone tell how far apart the outputs are, not where that begins or what makes it; capture.py records the sites \
         that tell.",
    ));
    if !asked {
        let missing: Vec<String> = known.recorded.missing.iter().map(gap).collect();
        rows.push(row(Topic::Cause, format!("Not compared: {}.", missing.join("; "))));
    }
    rows
}
