//! The few statistics that a verdict rests on. Everything is deterministic: resampling has a fixed
//! seed.

use statrs::distribution::{ContinuousCDF, DiscreteCDF, Poisson, StudentsT};
use ulpscope_floats::random::SplitMix64;
use ulpscope_record::LogitDivergence;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;

/// The mean; NaN of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean; 0 of nothing.
pub(crate) fn mean_or_zero(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { mean(values) }
}

/// KL, the mean over positions, and positions at which the most likely token flips, of all.
pub(crate) fn kl_and_flips<'l>(logits: impl Iterator<Item = &'l LogitDivergence>) -> (f64, [usize; 2]) {
    let positions: Vec<_> = logits.flat_map(|l| &l.by_position).collect();
    let kl: Vec<f64> = positions.iter().map(|p| p.kl).collect();
    let flips = positions.iter().filter(|p| p.top1[0] != p.top1[1]).count();
    (mean_or_zero(&kl), [flips, positions.len()])
}

/// Standard deviation of a sample, with n - 1; 0 of fewer than two.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let center = mean(values);
    let squares: f64 = values.iter().map(|x| (x - center) * (x - center)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Probability that one more value of a normal sample is as large as `x` or larger, where the
/// deviation is known to be `least` at least: a few values may be alike by chance.
pub(crate) fn beyond(sample: &[f64], x: f64, least: f64) -> f64 {
    let (n, center, spread) = (sample.len() as f64, mean(sample), deviation(sample).max(least));
    if sample.len() < 2 || spread == 0.0 {
        return if x > center { 0.0 } else { 1.0 };
    }
    student(n - 1.0, (x - center) / (spread * (1.0 + 1.0 / n).sqrt()))
}

/// Probability that a sample's mean is as far above 0 as this one's, or farther, if the true mean
/// is 0.
pub(crate) fn above_zero(sample: &[f64]) -> f64 {
    let (n, center, spread) = (sample.len() as f64, mean(sample), deviation(sample));
    if sample.len() < 2 || center.is_nan() {
        return 1.0;
    }
    if spread == 0.0 {
        return if center > 0.0 { 0.0 } else { 1.0 };
    }
    student(n - 1.0, center / (spread / n.sqrt()))
}

/// Probability that Student's t is `t` or larger; 1 for what is not a number, which proves nothing.
fn student(freedom: f64, t: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(distribution) if t.is_finite() => distribution.sf(t),
        _ => 1.0,
    }
}

/// Probability of `count` or more events where `expected` are.
pub(crate) fn as_many(count: u64, expected: f64) -> f64 {
    match (count, Poisson::new(expected)) {
        (0, _) => 1.0,
        (_, Err(_)) => 0.0,
        (count, Ok(poisson)) => poisson.sf(count - 1),
    }
}

/// 95 % interval of `statistic` over resampled blocks of `positions` indices, by block bootstrap.
pub(crate) fn interval(positions: usize, statistic: impl Fn(&[usize]) -> f64) -> [f64; 2] {
    if positions == 0 {
        return [f64::NAN; 2];
    }
    // Neighbouring positions share their context: they are drawn together.
    let block = 32.min(positions.div_ceil(4)).max(1);
    let mut random = SplitMix64::new(0x9e37_79b9_7f4a_7c15);
    let mut draw = |below: usize| (random.bits() % below as u64) as usize;
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut sample = Vec::with_capacity(positions + block);
            while sample.len() < positions {
                let start = draw(positions - block + 1);
                sample.extend(start..start + block);
            }
            sample.truncate(positions);
            statistic(&sample)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    [drawn[RESAMPLES / 40], drawn[RESAMPLES - 1 - RESAMPLES / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        assert!((as_many(1, 0.1) - (1.0 - (-0.1f64).exp())).abs() < 1e-12);
        assert_eq!(as_many(0, 0.1), 1.0);
        let sample = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert!((beyond(&sample, 3.0, 0.0) - 0.5).abs() < 1e-12);
        assert!(beyond(&sample, 30.0, 0.0) < 1e-4);
        let nan = f64::NAN;
        assert_eq!(
            (beyond(&[1.0, nan, 2.0], 1.0, 0.0), beyond(&[1.0, 2.0], nan, 0.0), above_zero(&[nan, 1.0])),
            (1.0, 1.0, 1.0)
        );
        assert_eq!((above_zero(&[1.0]), above_zero(&[0.0, 0.0])), (1.0, 1.0));
        assert!(above_zero(&[1.0, 1.1, 0.9, 1.05]) < 1e-3 && above_zero(&[1.0, 3.0, 0.1]) > 0.05);
        assert_eq!((beyond(&[2.0, 2.0], 2.0, 0.0), beyond(&[2.0, 2.0], 3.0, 0.0)), (1.0, 0.0));
        assert!(beyond(&[2.0; 5], 2.01, 0.5) > 0.4 && beyond(&[2.0; 5], 30.0, 0.5) < 1e-4);
    }

    #[test]
    fn an_interval_holds_the_mean_and_narrows() {
        let values = |n: usize| -> Vec<f64> { (0..n).map(|i| ((i * 7919) % 101) as f64).collect() };
        let of = |n: usize| {
            let values = values(n);
            interval(n, |sample| mean(&sample.iter().map(|&i| values[i]).collect::<Vec<_>>()))
        };
        let (few, many) = (of(64), of(4096));
        assert!(few[0] < 50.0 && 50.0 < few[1] && many[0] < 50.0 && 50.0 < many[1]);
        assert!(many[1] - many[0] < (few[1] - few[0]) / 3.0);
        assert_eq!(few, of(64));
    }
}
