//! Divergence by position, beside the floor: where it leaves the noise.

use std::ops::Range;

use ulpscope_compare::Observed;
use ulpscope_record::{Bucket, PositionDivergence};

use crate::statistics::{above_zero, beyond, deviation, mean, mean_or_zero};
use crate::thresholds::{CLEAR, FALSE_ALARMS, FAR, LEAST_KL, NEAR_TIE};

/// Where ranges of positions begin.
const EDGES: [usize; 12] = [0, 16, 64, 256, 512, 1024, 2048, 3072, 4096, 8192, 16384, 32768];

/// The divergence of subject 1 from subject 0 over ranges of positions of each prompt; `orders` are
/// the subjects that are the reference in other orders, `intrinsic` is the size of a prompt's
/// causes by position.
pub(crate) fn growth(
    observed: &Observed,
    orders: &[usize],
    intrinsic: impl Fn(usize) -> Vec<f64>,
    prompts: &[Vec<u32>],
) -> Vec<Bucket> {
    let mut all = Vec::new();
    // All ranges of all prompts share the probability of a mistake.
    let chance =
        FALSE_ALARMS / prompts.iter().map(|ids| ranges(ids.len()).len()).sum::<usize>().max(1) as f64;
    let positions = |subject: usize, prompt: usize| -> &[PositionDivergence] {
        observed.logits_on(prompt, subject, 0).map_or(&[], |l| &l.by_position)
    };
    let by_position =
        |subject: usize, prompt: usize| positions(subject, prompt).iter().map(|p| p.kl).collect::<Vec<f64>>();
    // The largest floor of any order over any range: that of one range of a few tokens is an
    // accident.
    let largest = (prompts.iter().enumerate())
        .flat_map(|(prompt, ids)| orders.iter().map(move |&order| (prompt, ids, order)))
        .flat_map(|(prompt, ids, order)| {
            let kl = by_position(order, prompt);
            ranges(ids.len()).into_iter().filter_map(move |range| kl.get(range).map(mean))
        })
        .fold(0.0, f64::max);
    for (prompt, ids) in prompts.iter().enumerate() {
        let (own, wide) = (by_position(1, prompt), intrinsic(prompt));
        let noise: Vec<Vec<f64>> = orders.iter().map(|&order| by_position(order, prompt)).collect();
        // The most that an order changes any logit of the prompt by.
        let moved = (orders.iter().flat_map(|&order| positions(order, prompt)))
            .map(|p| p.max_abs)
            .fold(0.0, f64::max);
        let ranges = ranges(ids.len());
        for range in &ranges {
            let over = |kl: &[f64]| kl.get(range.clone()).map_or(f64::NAN, mean);
            let floors: Vec<f64> = noise.iter().map(|kl| over(kl)).collect();
            let kl = over(&own);
            // A few tokens scatter so much that a test over them proves little, be the difference
            // as large as it may. What is far above every order, or flips a token that no order
            // comes near to flipping, needs no such test.
            let each: Vec<f64> =
                range.clone().map(|i| own.get(i).copied().unwrap_or(f64::NAN) - at(&noise, i)).collect();
            let of_range = positions(1, prompt).get(range.clone()).unwrap_or(&[]);
            let flips =
                of_range.iter().any(|p| p.top1[0] != p.top1[1] && p.margin[0] > NEAR_TIE * CLEAR * moved);
            let clear = !floors.is_empty() && kl > LEAST_KL && (kl > CLEAR * largest || flips);
            let clear = clear || (largest > 0.0 && kl > FAR * largest);
            let above = (floors.is_empty() || beyond(&floors, kl, 0.0) < chance)
                && (clear || above_zero(&each) < chance);
            let exceeds = above || range.clone().any(|i| lost(positions(1, prompt), &noise, i));
            all.push(Bucket {
                prompt,
                from: range.start,
                to: range.end,
                kl,
                floor_mean: mean_or_zero(&floors),
                floor_sd: deviation(&floors),
                intrinsic_kl: over(&wide),
                exceeds,
            });
        }
    }
    all
}

/// Ranges of the positions of a prompt.
fn ranges(tokens: usize) -> Vec<Range<usize>> {
    let range = |(i, &from): (usize, &usize)| {
        let to = EDGES.get(i + 1).copied().unwrap_or(usize::MAX).min(tokens);
        (from < to).then_some(from..to)
    };
    EDGES.iter().enumerate().filter_map(range).collect()
}

/// The floor at one position.
fn at(noise: &[Vec<f64>], position: usize) -> f64 {
    mean_or_zero(&noise.iter().filter_map(|kl| kl.get(position).copied()).collect::<Vec<_>>())
}

/// Whether the divergence is no number at a position at which the reference is finite, in every
/// order.
fn lost(own: &[PositionDivergence], noise: &[Vec<f64>], position: usize) -> bool {
    own.get(position).is_some_and(|p| !p.kl.is_finite() && p.margin[0].is_finite())
        && noise.iter().all(|kl| kl.get(position).is_some_and(|kl| kl.is_finite()))
}

/// The first prompt, and its first position, at which the arm has no numbers though the reference
/// has.
pub(crate) fn first_lost(observed: &Observed, prompts: usize) -> Option<[usize; 2]> {
    let of = |prompt: usize| {
        let own = &observed.logits_on(prompt, 1, 0)?.by_position;
        (0..own.len()).find(|&i| lost(own, &[], i)).map(|position| [prompt, position])
    };
    (0..prompts).find_map(of)
}

/// First position from which the divergence stays above the floor, on the longest prompt.
pub(crate) fn onset(growth: &[Bucket]) -> Option<usize> {
    let longest = growth.iter().max_by_key(|b| b.to)?.prompt;
    let buckets: Vec<&Bucket> = growth.iter().filter(|b| b.prompt == longest).collect();
    let above = buckets.iter().rev().take_while(|b| b.exceeds).count();
    (above > 0).then(|| buckets[buckets.len() - above].from)
}

/// Position at which the intrinsic size, growing as it did over the buckets, reaches three standard
/// deviations of the floor: where it would be told from the order of summation if rounding only
/// added to it.
pub(crate) fn expected_onset(growth: &[Bucket]) -> Option<usize> {
    let exponent = exponent(growth).filter(|e| *e > 0.1)?;
    let longest = growth.iter().max_by_key(|b| b.to)?;
    let (sd, size) = (longest.floor_sd, longest.intrinsic_kl);
    if !(sd > 0.0 && size > 0.0) {
        return None;
    }
    let middle = ((longest.from.max(1) * longest.to) as f64).sqrt();
    let position = middle * (3.0 * sd / size).powf(1.0 / exponent);
    (position < 1e9).then_some(position as usize)
}

/// Exponent e of `intrinsic KL ~ position^e`, by least squares over the buckets' logarithms.
pub(crate) fn exponent(growth: &[Bucket]) -> Option<f64> {
    let points: Vec<(f64, f64)> = growth
        .iter()
        .filter(|b| b.from > 0 && b.intrinsic_kl > 0.0)
        .map(|b| (((b.from * b.to) as f64).sqrt().ln(), b.intrinsic_kl.ln()))
        .collect();
    if points.len() < 3 {
        return None;
    }
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (mx, my) = (mean(&x), mean(&y));
    let product: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let square: f64 = x.iter().map(|x| (x - mx) * (x - mx)).sum();
    (square > 0.0).then(|| product / square)
}

#[cfg(test)]
mod tests {
    use ulpscope_compare::Compared;
    use ulpscope_record::RunRecord;

    use super::*;

    /// Subject 1 and five orders, subjects 2 to 6, on a prompt with these KLs.
    fn exceeds(own: &[f64], floor: impl Fn(usize, usize) -> f64) -> Vec<bool> {
        let record = include_str!("../../record/tests/explained.json");
        let logits = RunRecord::from_json(record).unwrap().logits.remove(0);
        let compared = |subject: usize, kl: Vec<f64>| {
            let mut logits = logits.clone();
            let mut position = logits.by_position[0].clone();
            (logits.prompt, position.top1, position.margin, position.max_abs) = (0, [1, 1], [1.0, 1.0], 0.01);
            let with = |kl| PositionDivergence { kl, ..position.clone() };
            logits.by_position = kl.into_iter().map(with).collect();
            Compared { subject, with: 0, logits }
        };
        let mut observed = Observed { logits: vec![compared(1, own.to_vec())], ..Observed::default() };
        for order in 2..7 {
            let kl = (0..own.len()).map(|i| floor(order, i)).collect();
            observed.logits.push(compared(order, kl));
        }
        let found = growth(&observed, &[2, 3, 4, 5, 6], |_| Vec::new(), &[vec![0; own.len()]]);
        found.iter().map(|b| b.exceeds).collect()
    }

    #[test]
    fn what_is_far_above_every_order_is_above_however_it_scatters() {
        let floor = |order: usize, i: usize| 1e-5 * (1 + (order * 7 + i * 3) % 5) as f64;
        // One position of eight: no test over positions finds that.
        let mut own = [0.0; 8];
        own[5] = 1.0;
        assert_eq!(exceeds(&own, floor), [true]);
        own[5] = 3e-4;
        assert_eq!(exceeds(&own, floor), [false], "as large as noise");
        own.fill(3e-5);
        assert_eq!(exceeds(&own, floor), [false]);
        // Where no order changes anything, nearly nothing is no proof.
        own.fill(0.0);
        own[1] = 1e-9;
        assert_eq!(exceeds(&own, |_, _| 0.0), [false]);
        // No number at one position, where every order has one.
        own[1] = f64::NAN;
        assert_eq!(exceeds(&own, floor), [true]);
        assert_eq!(exceeds(&own, |_, _| f64::NAN), [false], "the reference has none either");
    }
}
