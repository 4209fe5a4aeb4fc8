//! The attention that rounds everything, for a block of queries.

use super::LANES;
use super::queries::{Queries, Scratch};
use crate::element::Element;
use crate::output::narrow;
use crate::softmax::softmax_seen;
use crate::storage::CHUNK;

/// Mixes the values for some queries, `[rows, D]`, which are in `scratch.q`.
///
/// Keys that no query sees are left out if their probability is certain to be +0 and nothing is
/// infinite or NaN.
pub(super) fn eager<T: Element>(queries: &Queries<T>, scratch: &mut Scratch<T>, out: &mut [T]) {
    let Queries { way, shape, tokens, .. } = *queries;
    let width = shape.head_dim;
    let full = !masked_vanish(queries, scratch);
    let plan = way.plan(width, width);
    scratch.q.ready(way, plan.as_ref(), queries.keys);
    let columns = if full { tokens } else { queries.span.end };
    let Scratch { q, p, narrow: scores, wide, .. } = scratch;
    let stride = queries.scores(q, plan.as_ref(), 0..columns, full, scores);
    let (scale, masked) = (shape.scale as f32, T::DTYPE.min() as f32);
    wide.resize(stride, 0.0);
    for piece in queries.pieces() {
        let (hidden, end) = (queries.seen(piece.start).start, queries.seen(piece.end - 1).end);
        let taken = match full {
            true => 0..tokens,
            false => hidden / CHUNK * CHUNK..end.next_multiple_of(LANES).min(tokens),
        };
        for (row, scores) in piece.clone().zip(scores[piece.start * stride..].chunks_exact_mut(stride)) {
            let seen = queries.seen(row);
            let seen = seen.start - taken.start..seen.end - taken.start;
            let known = if full { taken.len() } else { seen.end };
            let row = &mut wide[..known];
            let scores = &mut scores[taken.clone()];
            T::read(&scores[..known], row);
            // Rounded by a detour through the storage format, which is what whole-vector code can
            // do.
            let round = |x: &mut [f32], out: &mut [T]| {
                narrow(way.path, x, &mut out[..x.len()]);
                T::read(&out[..x.len()], x);
            };
            row.iter_mut().for_each(|s| *s *= scale);
            round(row, scores);
            let (earlier, later) = row.split_at_mut(seen.end);
            let (earlier, seen) = earlier.split_at_mut(seen.start);
            seen.iter_mut().for_each(|s| *s += 0.0); // makes +0 of -0
            if full {
                earlier.iter_mut().for_each(|s| *s += masked);
                later.iter_mut().for_each(|s| *s += masked);
                round(row, scores);
            } else if !earlier.is_empty() {
                earlier.fill(f32::NEG_INFINITY);
            }
            softmax_seen(way.path, &mut wide[..stride - taken.start], known, tokens);
            narrow(way.path, &wide[..taken.len()], scores);
        }
        let fill = |i: usize, probs: &mut [T]| {
            probs.copy_from_slice(&scores[(piece.start + i) * stride..][taken.clone()]);
        };
        let out = &mut out[piece.start * width..piece.end * width];
        let plan = |length| way.plan(length, tokens);
        queries.mix(p, piece.len(), taken.clone(), 0..tokens, plan, fill, out);
    }
}

/// Whether no score comes anywhere near the mask, so that the exponential of every masked one is +0
/// for certain.
fn masked_vanish<T: Element>(queries: &Queries<T>, scratch: &Scratch<T>) -> bool {
    let scale = queries.shape.scale.abs().max(1.0);
    // Half of that is left for the roundings of the sum and of the score.
    let small = |product: f64| product * scale < -T::DTYPE.min() / 8.0;
    queries.values.finite && queries.largest(scratch).is_some_and(small)
}
