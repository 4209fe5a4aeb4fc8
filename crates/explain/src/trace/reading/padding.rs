//! Padding beside a prompt: tokens of a batch that attention ignores, which say nothing of the
//! model.

use serde_json::Value;
use ulpscope_capture::Trace;
use ulpscope_decoder::{Architecture, AttentionKind, Variant, departure::Positions};
use ulpscope_record::Finding;

use super::attended::Attended;
use super::rows_of;
use crate::causes;
use crate::trace::evidence::Claim;
use crate::trace::hypothesis::{Change, Hypothesis};

/// How many times nearer attention without the padding has to be to what was recorded.
const NEARER: f64 = 4.0;

/// Cuts the padding off a trace: as its `attention_mask` has it, or as its attention shows. Gives
/// the tokens on either side.
pub(super) fn cut(
    trace: &mut Trace,
    of: &Architecture,
    config: &Value,
) -> Result<Option<[usize; 2]>, String> {
    let Some(ids) = trace.ids().filter(|ids| !ids.is_empty()) else { return Ok(None) };
    let tokens = ids.len();
    let found = match trace.about.get("attention_mask") {
        Some(mask) => masked(mask, tokens)?,
        None => seen(trace, of, &ids, config),
    };
    let [left, right] = found;
    if found == [0, 0] {
        return Ok(None);
    }
    let kept = [left, tokens - right];
    for site in of.sites(AttentionKind::Eager) {
        if let Some(x) = trace.activations.get_mut(&site.to_string())
            && let Some(rows) = rows_of(of, site, x, tokens, kept)
        {
            *x = rows;
        }
    }
    let ids = serde_json::to_string(&ids[left..tokens - right]).unwrap_or_default();
    trace.about.insert("ids".to_owned(), ids);
    Ok(Some(found))
}

/// What a mask of ones and zeros leaves out on either side.
fn masked(mask: &str, tokens: usize) -> Result<[usize; 2], String> {
    let flat = |value: Value| match value {
        Value::Array(mut rows) if rows.len() == 1 && rows[0].is_array() => rows.remove(0),
        value => value,
    };
    let read = serde_json::from_str::<Value>(mask).ok().map(flat);
    let read: Option<Vec<f64>> = read.and_then(|value| {
        value.as_array()?.iter().map(|x| x.as_f64().or_else(|| x.as_bool().map(f64::from))).collect()
    });
    let Some(mask) = read.filter(|mask| mask.len() == tokens) else {
        return Err(format!(
            "its `attention_mask` is no list of {tokens} ones and zeros, one for each token"
        ));
    };
    let left = mask.iter().take_while(|x| **x == 0.0).count();
    if left == tokens {
        return Err("its `attention_mask` hides every token".to_owned());
    }
    let right = mask.iter().rev().take_while(|x| **x == 0.0).count();
    if mask[left..tokens - right].contains(&0.0) {
        return Err(
            "its `attention_mask` hides tokens between others; record the prompt without them".to_owned()
        );
    }
    Ok([left, right])
}

/// Whether a batch may be padded with a token: the config's own, else 0, or what ends a text.
fn pads(config: &Value, id: u32) -> bool {
    let has = |key: &str| match &config[key] {
        Value::Array(ids) => ids.contains(&Value::from(id)),
        value => value.as_u64() == Some(u64::from(id)),
    };
    let unnamed = config["pad_token_id"].is_null() && id == 0;
    has("pad_token_id") || (!has("bos_token_id") && (has("eos_token_id") || unnamed))
}

/// What attention ignores of a run of equal ids at either end. A single one has to be a token of
/// padding.
fn seen(trace: &Trace, of: &Architecture, ids: &[u32], config: &Value) -> [usize; 2] {
    let tokens = ids.len();
    let run = |mut ids: Box<dyn Iterator<Item = u32> + '_>| {
        let Some(first) = ids.next() else { return 0 };
        let run = 1 + ids.take_while(|id| *id == first).count();
        if run < tokens && (run > 1 || pads(config, first)) { run } else { 0 }
    };
    let left = run(Box::new(ids.iter().copied()));
    let right = run(Box::new(ids.iter().rev().copied()));
    if left + right == 0 {
        return [0, 0];
    }
    let Some(attended) = Attended::of(trace, of, tokens) else { return [0, 0] };
    let last = attended.tokens() - 1;
    // The fewest tokens that are ignored, of those that come nearest.
    let nearest = |run: usize, apart: &dyn Fn(usize) -> f64| {
        let all: Vec<f64> = (0..=run).map(apart).collect();
        let best = (0..=run).min_by(|x, y| all[*x].total_cmp(&all[*y])).unwrap_or(0);
        if all[best] * NEARER < all[0] { best } else { 0 }
    };
    // What stands in front may be hidden, too.
    let right = nearest(right, &|count| {
        let seen = |from: usize| attended.apart(last, |key| key >= from && key < tokens - count);
        seen(0).min(seen(left))
    });
    let last = last - right;
    let left = nearest(left, &|count| attended.apart(last, |key| key >= count && key <= last));
    [left, right]
}

/// Adds what positions may be behind padding: those that count it.
pub(in crate::trace) fn hypotheses(
    all: &mut Vec<Hypothesis>,
    padded: &[usize],
    touches: impl Fn(Variant) -> bool,
) {
    for &left in padded {
        let Ok(by) = i32::try_from(left) else { continue };
        let variant = Variant::Positions(Positions::From(by));
        if !touches(variant) {
            continue;
        }
        let same = |known: &Hypothesis| matches!(known.change, Change::Variant(other) if other == variant);
        all.retain(|known| !same(known));
        let finding = Finding::new("positions-padded").with("left", left);
        let claim = Claim::of_arithmetic(causes::PADDED_POSITIONS, "positions", finding);
        let hypothesis = Hypothesis { claim, change: Change::Variant(variant) };
        all.insert(0, hypothesis);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_is_padding_if_batches_are_padded_with_it() {
        let config = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let named = config(r#"{"pad_token_id": 5, "bos_token_id": 1, "eos_token_id": [2, 7]}"#);
        assert_eq!([0, 1, 2, 5, 7].map(|id| pads(&named, id)), [false, false, true, true, true]);
        let unnamed = config(r#"{"bos_token_id": 2, "eos_token_id": 2}"#);
        assert_eq!([0, 1, 2].map(|id| pads(&unnamed, id)), [true, false, false]);
    }

    #[test]
    fn a_mask_says_what_is_padding() {
        assert_eq!(masked("[0, 0, 1, 1]", 4), Ok([2, 0]));
        assert_eq!(masked("[[1, 1, 1, 0]]", 4), Ok([0, 1]));
        assert_eq!(masked("[true, true]", 2), Ok([0, 0]));
        for (mask, part) in
            [("[0, 1]", "3 ones"), ("[1, 0, 1]", "between"), ("[0, 0, 0]", "every"), ("x", "no list")]
        {
            assert!(masked(mask, 3).unwrap_err().contains(part), "{mask}");
        }
    }
}
