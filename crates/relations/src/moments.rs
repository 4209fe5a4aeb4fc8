//! Sums over two arrays, from which means, correlations and ratios follow.

use rayon::prelude::*;

use crate::view::{PIECE, View};

/// From here on one array is said to be near another.
pub(crate) const NEAR_DB: f64 = 10.0;

/// Sums over the pairs of finite elements, from which the rest follows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) len: usize,
    pub(crate) finite: f64,
    equal: usize,
    pub(crate) nan: usize,
    pub(crate) infinite: usize,
    a: f64,
    b: f64,
    aa: f64,
    bb: f64,
    ab: f64,
    dd: f64,
    smallest: f64,
    largest: f64,
}

impl Moments {
    pub(crate) fn of(a: View, b: View) -> Moments {
        const TASK: usize = 32 * PIECE;
        let part = |start: usize| {
            let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
            let mut m = Moments::new();
            for start in (start..a.len().min(start + TASK)).step_by(PIECE) {
                let n = PIECE.min(a.len() - start);
                a.read(start, &mut x[..n]);
                b.read(start, &mut y[..n]);
                m.add(&x[..n], &y[..n]);
            }
            m
        };
        // Summed up in the order of the array, whichever thread was first.
        let parts: Vec<Moments> =
            (0..a.len().div_ceil(TASK)).into_par_iter().map(|i| part(i * TASK)).collect();
        parts.iter().fold(Moments::new(), |m, part| m.plus(part))
    }

    pub(crate) fn new() -> Moments {
        Moments { smallest: f64::INFINITY, largest: f64::NEG_INFINITY, ..Moments::default() }
    }

    pub(crate) fn add(&mut self, a: &[f64], b: &[f64]) {
        for (&x, &y) in a.iter().zip(b) {
            self.len += 1;
            self.smallest = if y < self.smallest { y } else { self.smallest };
            self.largest = if y > self.largest { y } else { self.largest };
            if x.is_finite() && y.is_finite() {
                self.finite += 1.0;
                self.equal += usize::from(x == y);
                self.a += x;
                self.b += y;
                self.aa += x * x;
                self.bb += y * y;
                self.ab += x * y;
                self.dd += (x - y) * (x - y);
            } else if x.is_finite() {
                self.nan += usize::from(y.is_nan());
                self.infinite += usize::from(y.is_infinite());
            }
        }
    }

    fn plus(self, other: &Moments) -> Moments {
        Moments {
            len: self.len + other.len,
            finite: self.finite + other.finite,
            equal: self.equal + other.equal,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
            a: self.a + other.a,
            b: self.b + other.b,
            aa: self.aa + other.aa,
            bb: self.bb + other.bb,
            ab: self.ab + other.ab,
            dd: self.dd + other.dd,
            smallest: self.smallest.min(other.smallest),
            largest: self.largest.max(other.largest),
        }
    }

    /// The number that all of `b` is.
    pub(crate) fn constant(&self) -> Option<f64> {
        (self.smallest == self.largest && self.finite as usize == self.len).then_some(self.smallest)
    }

    pub(crate) fn equal(&self) -> f64 {
        self.equal as f64 / self.len.max(1) as f64
    }

    /// Correlation coefficient; 0 if either side is constant.
    pub(crate) fn correlation(&self) -> f64 {
        let n = self.finite;
        let covariance = self.ab - self.a * self.b / n;
        let (va, vb) = (self.aa - self.a * self.a / n, self.bb - self.b * self.b / n);
        // What is left of a constant is rounding.
        let tiny = 1e-12;
        if va <= tiny * self.aa || vb <= tiny * self.bb { 0.0 } else { covariance / (va * vb).sqrt() }
    }

    /// The factor by which `a` is nearest to `b`.
    pub(crate) fn gain(&self) -> f64 {
        self.ab / self.aa
    }

    /// The sum of the squares of `a`.
    pub(crate) fn signal(&self) -> f64 {
        self.aa
    }

    /// The sum of the squares of `b - a`.
    pub(crate) fn noise(&self) -> f64 {
        self.dd
    }

    /// The same with `b` times the factor that leaves least.
    pub(crate) fn unscaled(&self) -> f64 {
        let along = if self.bb > 0.0 { self.ab * self.ab / self.bb } else { 0.0 };
        (self.aa - along).max(0.0)
    }

    /// The same with the summand to `b` that leaves least.
    pub(crate) fn unshifted(&self) -> f64 {
        (self.dd - (self.b - self.a).powi(2) / self.finite.max(1.0)).max(0.0)
    }

    /// Signal-to-noise ratio of `b` to `gain * a`, in dB.
    pub(crate) fn sqnr_db(&self, gain: f64) -> f64 {
        // Of nearly equal arrays the difference of the sums would be rounding alone.
        let noise =
            if gain == 1.0 { self.dd } else { self.bb - 2.0 * gain * self.ab + gain * gain * self.aa };
        10.0 * (gain * gain * self.aa / noise.max(0.0)).log10()
    }

    pub(crate) fn rms(&self) -> [f64; 2] {
        [self.aa, self.bb].map(|squares| (squares / self.finite.max(1.0)).sqrt())
    }

    pub(crate) fn means(&self) -> [f64; 2] {
        [self.a, self.b].map(|sum| sum / self.finite.max(1.0))
    }

    /// The factor to `a` beside which `b` is near, and how near; 1 unless another is much better.
    pub(crate) fn near(&self) -> Option<(f64, f64)> {
        let (plain, gain, correlation) = (self.sqnr_db(1.0), self.gain(), self.correlation());
        let scaled = self.sqnr_db(gain);
        // Without a correlation, two arrays of one mean are near only as constants are.
        if plain > NEAR_DB && correlation > 0.5 && scaled < plain + 3.0 {
            return Some((1.0, plain));
        }
        (scaled > NEAR_DB && correlation.abs() > 0.5).then_some((gain, scaled))
    }
}
