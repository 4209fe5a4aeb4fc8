//! Divergence by position, beside the floor: where it leaves the noise.

use std::ops::Range;

use ulpscope_compare::Observed;
use ulpscope_record::Bucket;

use crate::floor::FALSE_ALARMS;
use crate::stats::{above_zero, beyond, deviation, mean, mean_or_zero};

/// Where ranges of positions begin.
const EDGES: [usize; 12] = [0, 16, 64, 256, 512, 1024, 2048, 3072, 4096, 8192, 16384, 32768];

/// The divergence of subject 1 from subject 0 over ranges of positions of each prompt; `orders` are the subjects that
/// are the reference in other orders, `intrinsic` is the size of a prompt's causes by position.
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
    for (prompt, ids) in prompts.iter().enumerate() {
        let by_position = |subject: usize| -> Vec<f64> {
            let of = |l: &&ulpscope_compare::Compared| {
                l.subject == subject && l.with == 0 && l.logits.prompt == prompt
            };
            let found = observed.logits.iter().find(of);
            found.map_or(Vec::new(), |l| l.logits.by_position.iter().map(|p| p.kl).collect())
        };
        let (own, wide) = (by_position(1), intrinsic(prompt));
        let noise: Vec<Vec<f64>> = orders.iter().map(|&order| by_position(order)).collect();
        let ranges = ranges(ids.len());
        for range in &ranges {
            let over = |kl: &[f64]| kl.get(range.clone()).map_or(f64::NAN, mean);
            let floors: Vec<f64> = noise.iter().map(|kl| over(kl)).collect();
            let kl = over(&own);
            // Above what orders scatter by, and above what positions do: a few tokens prove little.
            let each: Vec<f64> =
                range.clone().map(|i| own.get(i).copied().unwrap_or(f64::NAN) - at(&noise, i)).collect();
            let exceeds =
                (floors.is_empty() || beyond(&floors, kl, 0.0) < chance) && above_zero(&each) < chance;
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

/// First position from which the divergence stays above the floor, on the longest prompt.
pub(crate) fn onset(growth: &[Bucket]) -> Option<usize> {
    let longest = growth.iter().max_by_key(|b| b.to)?.prompt;
    let buckets: Vec<&Bucket> = growth.iter().filter(|b| b.prompt == longest).collect();
    let above = buckets.iter().rev().take_while(|b| b.exceeds).count();
    (above > 0).then(|| buckets[buckets.len() - above].from)
}

/// Position at which the intrinsic size, growing as it did over the buckets, reaches three standard deviations of the
/// floor: where it would be told from the order of summation if rounding only added to it.
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
