//! What a cache does to keys and values: slots that hold others, or nothing; fewer bits.

use ulpscope_record::Finding;

use super::numbers::{e4m3, e5m2, q8_0, q8_0_as_kept, quantised, quantised_between};
use super::{At, Case, Formula, found};
use crate::causes;

/// What stood so many positions before.
pub(super) fn before(what: &str, by: usize) -> Finding {
    Finding::new("positions-before").with("what", what).with("by", by)
}

/// A change of `[heads, tokens, width]` in place.
pub(super) type Edit<'e> = &'e dyn Fn(&mut [f64]);

/// What a cache may have done to keys or values: the last ones not written, blocks in each other's
/// place. `quickly` says of the first prompt whether an edit may be the one, `holds` of all.
pub(super) fn cached(
    at: &At,
    quickly: &dyn Fn(&Case, Edit) -> bool,
    holds: &dyn Fn(Edit) -> bool,
) -> Option<Formula> {
    let (tokens, width) = (at.cases[0].tokens, at.spec.head_dim);
    // Edits are of so many tokens, which prompts of other lengths have not.
    if at.cases.iter().any(|case| case.tokens != tokens) {
        return None;
    }
    let fits = |edit: Edit| quickly(&at.cases[0], edit) && holds(edit);
    for (count, first) in
        [1, 2, 4, 8].into_iter().filter(|n| n * 2 <= tokens).flat_map(|n| [(n, false), (n, true)])
    {
        let from = if first { 0 } else { tokens - count };
        let edit = |x: &mut [f64]| {
            for head in x.chunks_mut(tokens * width) {
                head[from * width..(from + count) * width].fill(0.0);
            }
        };
        if fits(&edit) {
            let end = if first { "first" } else { "last" };
            let finding = Finding::new("slots-empty").with("end", end).with("count", count);
            return found(causes::CACHE_EMPTY, finding);
        }
    }
    for slot in 0..tokens {
        for from in [slot.checked_sub(1), Some(slot + 1), Some(0)].into_iter().flatten() {
            if from == slot || from >= tokens {
                continue;
            }
            let edit = |x: &mut [f64]| {
                for head in x.chunks_mut(tokens * width) {
                    head.copy_within(from * width..(from + 1) * width, slot * width);
                }
            };
            if fits(&edit) {
                let finding = Finding::new("slot-overwritten").with("slot", slot).with("from", from);
                return found(causes::CACHE_SHIFTED, finding);
            }
        }
    }
    for size in [4, 8, 16, 32, 64] {
        for second in 1..tokens / size {
            for first in 0..second {
                let edit = |x: &mut [f64]| {
                    for head in x.chunks_mut(tokens * width) {
                        for i in 0..size * width {
                            head.swap(first * size * width + i, second * size * width + i);
                        }
                    }
                };
                if fits(&edit) {
                    let finding = Finding::new("slots-exchanged")
                        .with("first", first * size)
                        .with("last", (first + 1) * size - 1)
                        .with("other_first", second * size)
                        .with("other_last", (second + 1) * size - 1);
                    return found(causes::CACHE_SHIFTED, finding);
                }
            }
        }
    }
    None
}

/// Keys or values kept in few bits: `formula` makes the site's values of what the function that it
/// is given has coded, `[heads, tokens, width]`.
pub(super) fn coded(
    at: &At,
    what: &str,
    formula: impl Fn(&Case, &dyn Fn(&mut [f64])) -> Option<Vec<f64>>,
) -> Option<Formula> {
    let blocks = at.spec.head_dim.is_multiple_of(32);
    let in_blocks =
        |code: fn(&mut [f64])| at.gives(|case| formula(case, &|x| x.chunks_mut(32).for_each(code)));
    if blocks && [q8_0, q8_0_as_kept].into_iter().any(in_blocks) {
        return found(causes::CACHE, Finding::new("in-q8_0").with("what", what));
    }
    type Named = (&'static str, fn(&mut [f64]));
    let formats: [Named; 2] = [
        ("fp8 (e4m3)", |x| x.iter_mut().for_each(|x| *x = e4m3(*x))),
        ("fp8 (e5m2)", |x| x.iter_mut().for_each(|x| *x = e5m2(*x))),
    ];
    if let Some((format, _)) = formats.into_iter().find(|(_, code)| at.gives(|case| formula(case, code))) {
        return found(causes::CACHE, Finding::new("in-format").with("what", what).with("format", format));
    }
    for bits in [8, 4] {
        for (axis, rule) in [(Axis::Vector, "int-per-vector"), (Axis::Channel, "int-per-channel")] {
            for between in [false, true] {
                let shape = |case: &Case| (case.tokens, at.spec.head_dim);
                if at.gives(|case| formula(case, &|x| code(x, shape(case), axis, bits, between))) {
                    return found(causes::CACHE, Finding::new(rule).with("what", what).with("bits", bits));
                }
            }
        }
    }
    None
}

/// What shares a scale.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// A head's vector at a token.
    Vector,
    /// A head's channel at all tokens.
    Channel,
}

/// Quantises `[heads, tokens, width]`.
fn code(x: &mut [f64], (tokens, width): (usize, usize), axis: Axis, bits: u32, between: bool) {
    let group = |x: &mut [f64]| if between { quantised_between(x, bits) } else { quantised(x, bits) };
    if axis == Axis::Vector {
        return x.chunks_mut(width).for_each(group);
    }
    for head in x.chunks_mut(tokens * width) {
        for c in 0..width {
            let mut channel: Vec<f64> = (0..tokens).map(|t| head[t * width + c]).collect();
            group(&mut channel);
            (0..tokens).for_each(|t| head[t * width + c] = channel[t]);
        }
    }
}
