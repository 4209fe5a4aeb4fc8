//! KL divergences between two softmax distributions, without cancellation.

use crate::vector::{Loops, exp, inverse_factorials};

/// Two rows of logits, whose divergences are wanted.
pub(super) struct Divergences<'l>(pub(super) &'l [f64], pub(super) &'l [f64]);

/// What two rows of logits come to.
#[derive(Debug)]
pub(super) struct Apart {
    /// KL(p ‖ q) and KL(q ‖ p) in nats; `None` if a logit is NaN or infinity, or if all of one side
    /// are minus infinity. A token of that logit has a probability of 0: where the other side's is
    /// not, the divergence from it is infinite.
    pub(super) kl: Option<(f64, f64)>,
    /// `ln Σ e^logit` of each, NaN as above.
    pub(super) logsumexp: [f64; 2],
}

impl Loops for Divergences<'_> {
    type Output = Apart;

    #[inline(always)]
    fn run(self) -> Apart {
        let (p, q) = (Softmax::of(self.0), Softmax::of(self.1));
        let sum = |side: &Option<Softmax>| side.as_ref().map_or(f64::NAN, |side| side.max + side.log_sum);
        // No closure, which might not be inlined.
        let kl = match (&p, &q) {
            (Some(p), Some(q)) => Some(p.divergences(q)),
            _ => None,
        };
        Apart { kl, logsumexp: [sum(&p), sum(&q)] }
    }
}

/// `ln p` of one token under a row of logits; `None` as for [`Apart::kl`].
pub(super) struct LogOf<'l>(pub(super) &'l [f64], pub(super) usize);

impl Loops for LogOf<'_> {
    type Output = Option<f64>;

    #[inline(always)]
    fn run(self) -> Option<f64> {
        Some(Softmax::of(self.0)?.log_of(self.1))
    }
}

/// A row of logits as a distribution.
struct Softmax<'l> {
    logits: &'l [f64],
    max: f64,
    /// `ln Σ e^(logit - max)`.
    log_sum: f64,
    /// `p`.
    probability: Vec<f64>,
}

/// Partial sums per row: enough for vector code, and part of the declared order of summation.
const LANES: usize = 8;
/// Terms that are computed before they are added; a multiple of the lanes.
const PIECE: usize = 512;

impl<'l> Softmax<'l> {
    /// `None` as for [`Apart::kl`].
    #[inline(always)]
    fn of(logits: &'l [f64]) -> Option<Self> {
        // `&` and no early exit make vector code.
        let numbers = logits.iter().fold(true, |all, x| all & (*x < f64::INFINITY));
        let mut largest = [f64::NEG_INFINITY; LANES];
        fold(logits, &mut largest, |max, x| if x > max { x } else { max });
        let max = largest.into_iter().fold(f64::NEG_INFINITY, f64::max);
        if !numbers || max == f64::NEG_INFINITY {
            return None;
        }
        let mut probability = vec![0.0; logits.len()];
        for (p, x) in probability.iter_mut().zip(logits) {
            *p = exp(x - max);
        }
        let mut sum = [0.0; LANES];
        fold(&probability, &mut sum, |sum, p| sum + p);
        let sum = pairwise(sum);
        probability.iter_mut().for_each(|p| *p /= sum);
        Some(Softmax { logits, max, log_sum: sum.ln(), probability })
    }

    /// `ln p` of one token.
    #[inline(always)]
    fn log_of(&self, id: usize) -> f64 {
        self.logits[id] - self.max - self.log_sum
    }

    /// KL(p ‖ q) and KL(q ‖ p) in nats.
    ///
    /// With `d = ln p - ln q` and both summing to 1, `Σ p d = Σ p (d - 1 + e^-d)`. The terms on the
    /// right are never negative, and an error of 1e-16 in `d` enters them times `d`, not times 1:
    /// two models that differ in f32's last bits have a KL of 1e-12, which the left form would
    /// drown.
    #[inline(always)]
    fn divergences(&self, other: &Softmax) -> (f64, f64) {
        let (mut forward, mut reverse) = ([0.0; LANES], [0.0; LANES]);
        let (mut f, mut r) = ([0.0; PIECE], [0.0; PIECE]);
        for start in (0..self.logits.len()).step_by(PIECE) {
            let n = PIECE.min(self.logits.len() - start);
            let (p, q) = (&self.probability[start..start + n], &other.probability[start..start + n]);
            let (x, y) = (&self.logits[start..start + n], &other.logits[start..start + n]);
            for i in 0..n {
                let d = (x[i] - self.max - self.log_sum) - (y[i] - other.max - other.log_sum);
                (f[i], r[i]) = terms(p[i], q[i], d);
            }
            fold(&f[..n], &mut forward, |sum, term| sum + term);
            fold(&r[..n], &mut reverse, |sum, term| sum + term);
        }
        (pairwise(forward), pairwise(reverse))
    }
}

/// What one token adds to each divergence; `d` is `ln p - ln q`.
#[inline(always)]
fn terms(p: f64, q: f64, d: f64) -> (f64, f64) {
    let [above, below] = excess(d);
    // e^-d may overflow where p is 0, so the ratio is not formed.
    let plain = (p * d + (q - p), (p - q) - q * d);
    let never = |p: f64, q: f64| if p > 0.0 { f64::INFINITY } else { q };
    // All are computed, and no branch is taken.
    if d.abs() < SERIES_BELOW {
        (p * above, q * below)
    } else if d.abs() < f64::INFINITY {
        plain
    } else {
        (never(p, q), never(q, p))
    }
}

/// Where the series below is accurate to f64, and beyond which the plain form loses less than two
/// digits.
const SERIES_BELOW: f64 = 0.25;

/// `d - 1 + e^-d`, and the same of `-d`, for `|d| < 0.25`: by the power series `d²/2! ∓ d³/3! + …`,
/// whose even and odd terms are summed apart. The first term left out is below 1e-18 of the first.
#[inline(always)]
fn excess(d: f64) -> [f64; 2] {
    const INVERSE_FACTORIALS: [f64; 12] = inverse_factorials();
    let square = d * d;
    let (mut odd, mut even) = (0.0, 0.0);
    for [of_odd, of_even] in INVERSE_FACTORIALS.as_chunks().0 {
        (odd, even) = (odd * square + of_odd, even * square + of_even);
    }
    [square * (even - d * odd), square * (even + d * odd)]
}

/// Folds the elements into the lanes, one after another.
#[inline(always)]
fn fold(values: &[f64], lanes: &mut [f64; LANES], fold: impl Fn(f64, f64) -> f64) {
    let (whole, rest) = values.as_chunks::<LANES>();
    for group in whole {
        for j in 0..LANES {
            lanes[j] = fold(lanes[j], group[j]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = fold(*lane, x);
    }
}

fn pairwise(l: [f64; LANES]) -> f64 {
    ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_continues_the_closed_form() {
        for i in -1000..=1000 {
            let d = f64::from(i) * SERIES_BELOW / 1000.0;
            let plain = (-d).exp_m1() + d;
            // The closed form itself loses 2/d digits.
            let [above, _] = excess(d);
            assert!((above - plain).abs() <= 2e-16 * d.abs() + 1e-30, "{d}: {above} {plain}");
            assert_eq!(above, excess(-d)[1]);
        }
        // d²/2 - d³/6 to the last digit, where the closed form has none left.
        let d = 1e-9;
        assert!((excess(d)[0] / (0.5 * d * d * (1.0 - d / 3.0)) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn what_is_never_chosen_has_a_probability_of_0() {
        const NEVER: f64 = f64::NEG_INFINITY;
        let of = |p: &[f64], q: &[f64]| Divergences(p, q).run().kl.unwrap();
        // A third of the other side's probability lies where this one has none.
        let (forward, reverse) = of(&[NEVER, 0.0, 0.0], &[0.0; 3]);
        assert!((forward - 1.5f64.ln()).abs() < 1e-15, "{forward}");
        assert_eq!((reverse, of(&[NEVER, 0.0], &[NEVER, 0.0])), (f64::INFINITY, (0.0, 0.0)));
        let one_side = Divergences(&[NEVER; 2], &[0.0; 2]).run();
        assert_eq!(one_side.kl, None);
        assert!(one_side.logsumexp[0].is_nan() && (one_side.logsumexp[1] - 2f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        let large = [1e308, 1e308, -1e308];
        let softmax = Softmax::of(&large).unwrap();
        assert_eq!(softmax.probability, [0.5, 0.5, 0.0]);
        let small = [-800.0, -800.0 + 3f64.ln()];
        let softmax = Softmax::of(&small).unwrap();
        assert!((softmax.probability[1] - 0.75).abs() < 1e-13);
        assert!((softmax.log_of(0) - 0.25f64.ln()).abs() < 1e-13);
    }
}
