//! The fused attention, for a block of queries.

use ulpscope_floats::{DType, Floats};

use super::mkl::Mkl;
use super::queries::{Queries, Scratch};
use super::{KEY_BLOCK, LANES};
use crate::by_path::{by_path, fma};
use crate::element::{Element, expect_rows};
use crate::exp::{expf, malossi, u20};
use crate::output::narrow;
use crate::softmax::max;
use crate::storage::CHUNK;
use crate::sum::halve;
use crate::{KernelError, Path};

/// What is known of a row after some blocks of keys.
#[derive(Clone, Copy)]
pub(crate) struct State {
    max: f32,
    sum: f32,
    /// What the last block's maximum did to everything before.
    rescale: f32,
}

impl State {
    /// Before the first block.
    const NONE: State = State { max: f32::NEG_INFINITY, sum: 0.0, rescale: 0.0 };
}

/// How a row's scores of one block of keys become exponentials.
#[derive(Clone, Copy)]
pub(crate) struct Take {
    /// Columns before those that the row sees.
    hidden: usize,
    /// Where the columns that the row sees end.
    seen: usize,
    /// Columns that come in whole vectors of the block.
    whole: usize,
    scale: f32,
    /// By the exponential of 16-bit formats.
    fast: bool,
    /// The score of every key is known, and -∞ is added to those that the row does not see, which
    /// leaves NaN of +∞.
    traced: bool,
}

/// Mixes the values for some queries, `[rows, D]`, which are in `scratch.q`.
///
/// Keys that no query sees are left out, before a window as well as behind the queries: their
/// scores are -∞, the exponentials +0, and so is their share of every sum, unless a value is
/// infinite or NaN. A window is a mask that is added: hidden scores of +∞ or NaN leave NaN.
pub(super) fn flash<T: Element>(queries: &Queries<T>, scratch: &mut Scratch<T>, out: &mut [T]) {
    let Queries { way, shape, keys, values, tokens, .. } = *queries;
    let (width, rows) = (shape.head_dim, queries.rows());
    let traced = shape.window.is_some() && !is_finite(queries, scratch);
    let full = traced || !values.finite;
    let plan = queries.mkl.as_ref().map_or_else(|| way.plan(width, width), |mkl| Some(mkl.plan(way)));
    scratch.q.ready(way, plan.as_ref(), keys);
    let mut states = vec![State::NONE; rows];
    let mut total = vec![0.0; rows * width];

    let reach =
        if full { 0..tokens } else { queries.seen(0).start / KEY_BLOCK * KEY_BLOCK..queries.span.end };
    for start in reach.clone().step_by(KEY_BLOCK) {
        let count = KEY_BLOCK.min(tokens - start);
        let columns = count.min(reach.end - start);
        let Scratch { q, p, wide: scores, narrow: probs, mixed, .. } = scratch;
        let block = start..start + columns;
        let within = |key: usize| key.saturating_sub(start).min(count);
        let hidden = if traced { 0 } else { within(queries.seen(0).start) };
        let small = |mkl: &Mkl<T>| mkl.scores(way, q, block.clone(), [hidden, count], scores);
        let small = queries.mkl.as_ref().and_then(small);
        let stride = small.unwrap_or_else(|| queries.scores(q, plan.as_ref(), block, traced, scores));
        let stretch = queries.mkl.as_ref().and_then(|mkl| mkl.planned(start, count));
        for piece in queries.pieces() {
            let scores = &mut scores[piece.start * stride..piece.end * stride];
            let hidden = within(queries.seen(piece.start).start);
            let end = within(queries.seen(piece.end - 1).end);
            let known = match full {
                true => 0..count,
                // None of them, if the window of every row begins in a later block.
                false if hidden == count => continue,
                false => hidden / CHUNK * CHUNK..end.next_multiple_of(LANES).min(count),
            };
            let whole = known.end.min(count / LANES * LANES) - known.start;
            let mut done = 0;
            let mut fill = |i: usize, probs: &mut [T]| {
                let scores = &mut scores[i * stride..][known.clone()];
                // Rows are asked for in order, and then perhaps once more.
                if i == done {
                    let row = piece.start + i;
                    let fast = T::DTYPE != DType::F32;
                    let seen = queries.seen(row);
                    let [hidden, seen] =
                        [seen.start, seen.end].map(|key| within(key).saturating_sub(known.start));
                    let take = Take { hidden, seen, whole, scale: shape.scale as f32, fast, traced };
                    states[row] = exponentials(way.path, scores, states[row], take);
                    done += 1;
                }
                narrow(way.path, scores, probs);
            };
            let totals = &mut total[piece.start * width..piece.end * width];
            mixed.resize(totals.len(), 0.0);
            match &queries.mkl {
                Some(mkl) if stretch.is_none() => {
                    probs.resize(piece.len() * known.len(), T::ZERO);
                    probs.chunks_exact_mut(known.len()).enumerate().for_each(|(i, probs)| fill(i, probs));
                    if start > 0 {
                        rescale(way.path, totals, &states[piece]);
                    }
                    mkl.mix(queries, p, probs, [start, known.start, count], mixed, totals);
                }
                _ => {
                    let plan = |length| match stretch {
                        Some(stretch) => Some(way.blocks(length, stretch)),
                        None => way.plan(length, count),
                    };
                    let block = start..start + count;
                    queries.mix(p, piece.len(), known.clone(), block, plan, fill, mixed);
                    if start > 0 {
                        rescale(way.path, totals, &states[piece]);
                    }
                    accumulate(way.path, totals, mixed, start == 0);
                }
            }
        }
    }
    normalise(way.path, &mut total, &states, reach.end.next_multiple_of(KEY_BLOCK) < tokens);
    narrow(way.path, &total, out);
}

/// Whether every score is finite for certain.
fn is_finite<T: Element>(queries: &Queries<T>, scratch: &Scratch<T>) -> bool {
    let scale = queries.shape.scale.abs().max(1.0);
    queries.largest(scratch).is_some_and(|product| product * scale < f64::from(f32::MAX) / 8.0)
}

/// `exp(s - max)` of the rows of `[rows, keys]` where they lie, and their sums, as
/// [`attention_sdpa`](super::attention_sdpa) takes them of a model stored in `storage`, all keys as
/// one block. A row that is -∞ throughout is 0 throughout.
///
/// # Errors
/// If the scores are no whole number of rows.
pub fn exp_scores(scores: &mut [f32], keys: usize, storage: DType) -> Result<Vec<f32>, KernelError> {
    let path = Path::detect()?;
    expect_rows(&Floats::from(&*scores), keys, "the scores")?;
    let whole = keys / LANES * LANES;
    let fast = storage != DType::F32;
    let take = Take { hidden: 0, seen: keys, whole, scale: 1.0, fast, traced: false };
    let row = |scores: &mut [f32]| exponentials(path, scores, State::NONE, take).sum;
    Ok(scores.chunks_exact_mut(keys).map(row).collect())
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(_: Path, scores: &mut [f32], before: State, take: Take) -> State {
    let (known, later) = scores.split_at_mut(take.seen.min(scores.len()));
    let (earlier, seen) = known.split_at_mut(take.hidden.min(known.len()));
    seen.iter_mut().for_each(|s| *s *= take.scale);
    let max = if take.traced {
        [earlier, later].into_iter().flatten().for_each(|s| *s = *s * take.scale + f32::NEG_INFINITY);
        max(scores)
    } else {
        earlier.fill(f32::NEG_INFINITY);
        later.fill(f32::NEG_INFINITY);
        max(seen)
    };
    // NaN must win, as it does in PyTorch's maximum.
    let max = if before.max > max { before.max } else { max };
    if max == f32::NEG_INFINITY {
        scores.fill(0.0);
        return State { rescale: 1.0, ..before };
    }
    let rescale = expf(before.max - max);
    let (vectors, rest) = scores.split_at_mut(take.whole);
    let lanes =
        if take.fast { add_up::<FMA, true>(vectors, max) } else { add_up::<FMA, false>(vectors, max) };
    rest.iter_mut().for_each(|x| *x = expf(*x - max));
    let sum = rest.iter().fold(halve(lanes), |sum, x| sum + x);
    State { max, sum: fma::<FMA>(before.sum, rescale, sum), rescale }
}
by_path!(
    /// Turns a row's scores into exponentials and adds them up.
    exponentials(scores: &mut [f32], before: State, take: Take) -> State = exponentials_body
);

/// Turns whole vectors into exponentials, which it adds up lane by lane: of 16-bit formats, which
/// PyTorch makes two vectors of at a time, every other vector apart.
#[inline(always)]
fn add_up<const FMA: bool, const FAST: bool>(vectors: &mut [f32], max: f32) -> [f32; LANES] {
    let mut sums = [[0.0; LANES]; 2];
    let take = |vector: &mut [f32; LANES], lanes: &mut [f32; LANES]| {
        for (x, lane) in vector.iter_mut().zip(lanes) {
            let difference = *x - max;
            *x = if FAST { malossi::<FMA>(difference) } else { u20::<FMA>(difference) };
            *lane += *x;
        }
    };
    let [first, second] = &mut sums;
    let (pairs, rest) = vectors.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>();
    for [even, odd] in pairs {
        take(even, first);
        take(odd, if FAST { second } else { first });
    }
    rest.iter_mut().for_each(|vector| take(vector, first));
    std::array::from_fn(|i| sums[0][i] + sums[1][i])
}

/// What a new maximum does to what was summed before.
#[inline(always)]
fn rescale_body<const FMA: bool>(_: Path, totals: &mut [f32], states: &[State]) {
    let width = totals.len() / states.len();
    for (total, state) in totals.chunks_exact_mut(width).zip(states) {
        total.iter_mut().for_each(|total| *total *= state.rescale);
    }
}
by_path!(rescale(totals: &mut [f32], states: &[State]) = rescale_body);

/// Adds to what was summed before, or begins.
#[inline(always)]
fn accumulate_body<const FMA: bool>(_: Path, totals: &mut [f32], mixed: &[f32], first: bool) {
    if first {
        return totals.copy_from_slice(mixed);
    }
    totals.iter_mut().zip(mixed).for_each(|(total, mixed)| *total += mixed);
}
by_path!(accumulate(totals: &mut [f32], mixed: &[f32], first: bool) = accumulate_body);

/// Divides by the sums of the exponentials, or by 1 where there is nothing to divide. A block that
/// was left out would have added +0, which makes +0 of -0, and NaN where the maximum is +∞.
#[inline(always)]
fn normalise_body<const FMA: bool>(_: Path, totals: &mut [f32], states: &[State], left_out: bool) {
    let width = totals.len() / states.len();
    for (total, state) in totals.chunks_exact_mut(width).zip(states) {
        let (rest, rescale) = if left_out {
            (0.0, if state.max < f32::INFINITY { 1.0 } else { f32::NAN })
        } else {
            (-0.0, 1.0)
        };
        let sum = if state.sum == 0.0 { 1.0 } else { state.sum };
        let inverse = 1.0 / (sum * rescale);
        total.iter_mut().for_each(|x| *x = (*x * rescale + rest) * inverse);
    }
}
by_path!(normalise(totals: &mut [f32], states: &[State], left_out: bool) = normalise_body);
