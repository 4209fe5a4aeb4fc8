//! KL divergences between two softmax distributions, without cancellation.

/// A row of logits as a distribution.
pub(super) struct Softmax {
    /// `ln p`.
    log: Vec<f64>,
    /// `p`.
    probability: Vec<f64>,
}

/// Partial sums per row: enough for vector code, and part of the declared order of summation.
const LANES: usize = 8;

impl Softmax {
    /// `None` if a logit is NaN or infinite, or if there are none.
    pub(super) fn of(logits: &[f64]) -> Option<Softmax> {
        if logits.is_empty() || !logits.iter().all(|x| x.is_finite()) {
            return None;
        }
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut probability: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
        let sum = sum(probability.iter().copied());
        let log_sum = sum.ln();
        probability.iter_mut().for_each(|p| *p /= sum);
        Some(Softmax { log: logits.iter().map(|x| x - max - log_sum).collect(), probability })
    }

    /// `ln p` of one token.
    pub(super) fn log_of(&self, id: usize) -> f64 {
        self.log[id]
    }

    /// KL(p ‖ q) and KL(q ‖ p) in nats.
    ///
    /// With `d = ln p - ln q` and both summing to 1, `Σ p d = Σ p (d - 1 + e^-d)`. The terms on the right
    /// are never negative, and an error of 1e-16 in `d` enters them times `d`, not times 1: two models
    /// that differ in f32's last bits have a KL of 1e-12, which the left form would drown.
    pub(super) fn divergences(&self, other: &Softmax) -> (f64, f64) {
        let mut forward = [0.0; LANES];
        let mut reverse = [0.0; LANES];
        for i in 0..self.log.len() {
            let (p, q) = (self.probability[i], other.probability[i]);
            let d = self.log[i] - other.log[i];
            let (f, r) = if d.abs() < SERIES_BELOW {
                (p * excess(d), q * excess(-d))
            } else {
                // e^-d may overflow where p is 0, so the ratio is not formed.
                (p * d + (q - p), (p - q) - q * d)
            };
            forward[i % LANES] += f;
            reverse[i % LANES] += r;
        }
        (pairwise(forward), pairwise(reverse))
    }
}

/// Where the series below is accurate to f64, and beyond which the plain form loses less than two digits.
const SERIES_BELOW: f64 = 0.25;

/// `d - 1 + e^-d` by its power series `d²/2! - d³/3! + …`, for `|d| < 0.25`.
fn excess(d: f64) -> f64 {
    // 1/13! … 1/2!: the first term left out is below 1e-18 of the first.
    const INVERSE_FACTORIALS: [f64; 12] = {
        let mut terms = [0.0; 12];
        let (mut n, mut factorial) = (2, 2.0);
        while n <= 13 {
            terms[13 - n] = 1.0 / factorial;
            n += 1;
            factorial *= n as f64;
        }
        terms
    };
    INVERSE_FACTORIALS.iter().fold(0.0, |sum, term| term - d * sum) * (d * d)
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; LANES];
    values.enumerate().for_each(|(i, x)| lanes[i % LANES] += x);
    pairwise(lanes)
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
            assert!((excess(d) - plain).abs() <= 2e-16 * d.abs() + 1e-30, "{d}: {} {plain}", excess(d));
        }
        // d²/2 - d³/6 to the last digit, where the closed form has none left.
        let d = 1e-9;
        assert!((excess(d) / (0.5 * d * d * (1.0 - d / 3.0)) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_logits() {
        let softmax = Softmax::of(&[1e308, 1e308, -1e308]).unwrap();
        assert_eq!(softmax.probability, [0.5, 0.5, 0.0]);
        let softmax = Softmax::of(&[-800.0, -800.0 + 3f64.ln()]).unwrap();
        assert!((softmax.probability[1] - 0.75).abs() < 1e-13);
        assert!((softmax.log[0] - 0.25f64.ln()).abs() < 1e-13);
    }
}
