//! Everything elementwise that is said about two arrays.

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::error::MetricsError;
use crate::sums::{BLOCK, Sums};

/// How far array `b` is from array `a`, the reference.
///
/// The counts are over all elements. **The sums, the largest difference and all that is derived
/// from them are over the pairs in which both values are finite**; `nonfinite` says what that
/// leaves out. Values are widened to f64 first, which is exact, and every operation on them is in
/// f64. Inputs in f64 beyond about 1e154 can make squares infinite; no other format can.
///
/// Of two empty arrays everything is equal: `equal_fraction` 1, means 0, cosine 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Pairs of elements.
    pub len: u64,
    /// Pairs that are bit-equal. Two NaNs count as equal, whatever their payloads; +0 and -0 do
    /// not. Arrays of two formats are compared after widening.
    pub equal: u64,
    /// Pairs in which both values are finite.
    pub finite: u64,
    /// NaNs and infinities in `a`, and in `b`.
    pub nonfinite: [u64; 2],
    /// Largest `|a - b|`; 0 if there is no finite pair.
    pub max_abs: f64,
    /// The first element at which it is reached; `None` if `max_abs` is 0.
    pub max_index: Option<u64>,
    /// `Σ |a - b|`.
    pub sum_abs: f64,
    /// `Σ (a - b)²`.
    pub sum_sq_diff: f64,
    /// `Σ a²`.
    pub sum_sq_a: f64,
    /// `Σ b²`.
    pub sum_sq_b: f64,
    /// `Σ a b`.
    pub dot: f64,
    /// What `torch.allclose(a, b)` answers: `|a - b| <= 1e-8 + 1e-5 |b|` for all elements. A NaN is
    /// close to nothing, an infinity to itself only.
    ///
    /// PyTorch evaluates the inequality in the tensors' own dtype, rounding both of its sides; here
    /// it is evaluated in f64. The answers can part only where the two sides are equal but for such
    /// a rounding.
    pub allclose: bool,
}

/// Compares `b` with the reference `a`, element by element, in one pass.
///
/// Formats may differ. The result does not depend on the number of threads.
///
/// # Errors
/// [`MetricsError::LengthMismatch`].
///
/// ```
/// use ulpscope_floats::Floats;
/// use ulpscope_metrics::difference;
///
/// let d = difference(&Floats::from(vec![1.0f32, 2.0, 2.0]), &Floats::from(vec![1.0f32, 2.0, 1.0]))?;
/// assert_eq!((d.equal, d.max_abs, d.max_index), (2, 1.0, Some(2)));
/// assert_eq!(d.relative_l2(), 1.0 / 3.0);
/// assert!(!d.allclose);
/// # Ok::<(), ulpscope_metrics::MetricsError>(())
/// ```
pub fn difference(a: &Floats, b: &Floats) -> Result<Difference, MetricsError> {
    let len = same_length(a, b)?;
    let block = |i: usize| {
        let range = i * BLOCK..len.min((i + 1) * BLOCK);
        Sums::block(&a.slice(range.clone()), &b.slice(range))
    };
    // Below some hundred thousand elements waking threads takes longer than the work.
    let blocks: Vec<Sums> = (0..len.div_ceil(BLOCK)).into_par_iter().with_min_len(32).map(block).collect();
    let sums = Sums::tree(&blocks);
    let max_index = first_at(a, b, sums.max_abs, &blocks);
    Ok(Difference {
        len: len as u64,
        equal: sums.equal,
        finite: sums.finite,
        nonfinite: sums.nonfinite,
        max_abs: sums.max_abs,
        max_index,
        sum_abs: sums.abs,
        sum_sq_diff: sums.sq_diff,
        sum_sq_a: sums.sq_a,
        sum_sq_b: sums.sq_b,
        dot: sums.dot,
        allclose: sums.close,
    })
}

/// The first element at which a finite pair differs by `max_abs`. Only the first block that reaches
/// it is gone through again, which spares the pass above from keeping indices.
fn first_at(a: &Floats, b: &Floats, max_abs: f64, blocks: &[Sums]) -> Option<u64> {
    if max_abs == 0.0 {
        return None;
    }
    let block = blocks.iter().position(|block| block.max_abs == max_abs)?;
    let reaches = |i: &usize| {
        let (x, y) = (a.get(*i), b.get(*i));
        x.is_finite() && y.is_finite() && (x - y).abs() == max_abs
    };
    (block * BLOCK..a.len()).find(reaches).map(|i| i as u64)
}

/// The common length of both arrays.
pub(crate) fn same_length(a: &Floats, b: &Floats) -> Result<usize, MetricsError> {
    match (a.len(), b.len()) {
        (a, b) if a == b => Ok(a),
        (a, b) => Err(MetricsError::LengthMismatch { a, b }),
    }
}

impl Difference {
    /// The difference of two empty arrays: what [`Difference::merge`] starts from.
    pub const EMPTY: Difference = Difference {
        len: 0,
        equal: 0,
        finite: 0,
        nonfinite: [0; 2],
        max_abs: 0.0,
        max_index: None,
        sum_abs: 0.0,
        sum_sq_diff: 0.0,
        sum_sq_a: 0.0,
        sum_sq_b: 0.0,
        dot: 0.0,
        allclose: true,
    };

    /// Whether every element is equal, in the sense of [`Difference::equal`].
    pub fn identical(&self) -> bool {
        self.equal == self.len
    }

    /// Share of elements that are bit-equal, between 0 and 1.
    pub fn equal_fraction(&self) -> f64 {
        if self.len == 0 { 1.0 } else { self.equal as f64 / self.len as f64 }
    }

    /// Mean of `|a - b|`. NaN if there are elements that differ, but no finite pair.
    pub fn mean_abs(&self) -> f64 {
        self.mean(self.sum_abs)
    }

    /// Root of the mean of `(a - b)²`. NaN as [`Difference::mean_abs`].
    pub fn rms(&self) -> f64 {
        self.mean(self.sum_sq_diff).sqrt()
    }

    fn mean(&self, sum: f64) -> f64 {
        if self.identical() { 0.0 } else { sum / self.finite as f64 }
    }

    /// Cosine of the angle between the arrays as vectors: exactly 1 if no value differs; 0 if only
    /// one of them is all zeros.
    ///
    /// It is blunt: 0.9999 is 37 dB, worse than rounding to bf16. See
    /// [`Difference::cosine_distance`].
    pub fn cosine(&self) -> f64 {
        if self.max_abs == 0.0 {
            return 1.0;
        }
        let squared = self.sum_sq_a * self.sum_sq_b;
        // One root rounds less than two, but the product of extreme f64 sums leaves the range.
        let norms =
            if squared.is_normal() { squared.sqrt() } else { self.sum_sq_a.sqrt() * self.sum_sq_b.sqrt() };
        if norms == 0.0 { 0.0 } else { (self.dot / norms).clamp(-1.0, 1.0) }
    }

    /// `1 - cosine`, without the cancellation of that subtraction.
    pub fn cosine_distance(&self) -> f64 {
        if self.max_abs == 0.0 {
            return 0.0;
        }
        let (a, b) = (self.sum_sq_a.sqrt(), self.sum_sq_b.sqrt());
        // |a - b|² = (|a| - |b|)² + 2 |a| |b| (1 - cos).
        let distance = (self.sum_sq_diff - (a - b) * (a - b)) / (2.0 * a * b);
        if a * b == 0.0 { 1.0 } else { distance.clamp(0.0, 2.0) }
    }

    /// Signal to noise in decibels, `10 log10(Σ a² / Σ (a - b)²)`: `a` the signal, `a - b` the
    /// noise. Infinite if no value differs, minus infinity if `a` is all zeros and `b` is not.
    pub fn sqnr_db(&self) -> f64 {
        if self.max_abs == 0.0 { f64::INFINITY } else { 10.0 * (self.sum_sq_a / self.sum_sq_diff).log10() }
    }

    /// `‖a - b‖ / ‖a‖`: 0 if no value differs, infinite if `a` is all zeros and `b` is not.
    pub fn relative_l2(&self) -> f64 {
        if self.max_abs == 0.0 { 0.0 } else { (self.sum_sq_diff / self.sum_sq_a).sqrt() }
    }

    /// The difference of two arrays of which `self` compared the first part and `rest` all that
    /// follows.
    ///
    /// Counts and maxima are those of the whole. The sums are added as they are, so that their last
    /// bits may be other than those of one [`difference`] over the whole; merge in a fixed order.
    #[must_use]
    pub fn merge(self, rest: Difference) -> Difference {
        let later = rest.max_abs > self.max_abs;
        Difference {
            len: self.len + rest.len,
            equal: self.equal + rest.equal,
            finite: self.finite + rest.finite,
            nonfinite: [self.nonfinite[0] + rest.nonfinite[0], self.nonfinite[1] + rest.nonfinite[1]],
            max_abs: if later { rest.max_abs } else { self.max_abs },
            max_index: if later { rest.max_index.map(|i| i + self.len) } else { self.max_index },
            sum_abs: self.sum_abs + rest.sum_abs,
            sum_sq_diff: self.sum_sq_diff + rest.sum_sq_diff,
            sum_sq_a: self.sum_sq_a + rest.sum_sq_a,
            sum_sq_b: self.sum_sq_b + rest.sum_sq_b,
            dot: self.dot + rest.dot,
            allclose: self.allclose && rest.allclose,
        }
    }
}

#[cfg(test)]
mod tests;
