//! What a difference in logits does to the next token's distribution.

mod divergence;
mod ranking;

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::difference::same_length;
use crate::error::MetricsError;
use crate::vector::vectorised;
use divergence::{Apart, Divergences, LogOf};
use ranking::Ranking;

/// One position: reference distribution p against candidate distribution q.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// KL(p ‖ q) in nats, never negative; NaN if any logit of either row is NaN or plus infinity. A
    /// logit of minus infinity is a probability of 0, from which KL is infinite where the other
    /// side's is not.
    pub kl: f64,
    /// KL(q ‖ p) in nats; NaN as `kl`.
    pub reverse_kl: f64,
    /// The most likely token of the reference and of the candidate: the lowest index in a tie. A
    /// NaN counts as the largest value, as in `torch.argmax`.
    pub top1: [usize; 2],
    /// Largest logit minus the second largest, of the reference and of the candidate: a flip of the
    /// top token at a margin within the noise says little. Infinite for a single token, NaN if not
    /// a number.
    pub margin: [f64; 2],
    /// Share of the reference's `top_k` tokens that are also among the candidate's, between 0
    /// and 1.
    pub overlap: f64,
    /// `ln Σ e^logit` of the reference and of the candidate (`torch.logsumexp`), which less a
    /// token's logit is its negative log-likelihood in nats; NaN if a logit of the row is NaN or
    /// plus infinity, or if all are minus infinity.
    pub logsumexp: [f64; 2],
}

impl Position {
    /// Whether both name the same token as the most likely.
    pub fn agrees(&self) -> bool {
        self.top1[0] == self.top1[1]
    }
}

/// All positions, and what they come to.
///
/// Means and quantiles are over positions; quantiles interpolate linearly between order statistics,
/// as `numpy.quantile` and `torch.quantile` do. One position with a NaN makes all those of `kl` NaN
/// (`nan_positions` says how many there are). Without positions every KL is 0 and every share 1.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitDifference {
    /// One entry per row of logits.
    pub positions: Vec<Position>,
    /// Positions whose KL is NaN.
    pub nan_positions: usize,
    /// How many tokens `overlap` looks at: what was asked for, or the vocabulary if that is
    /// smaller.
    pub top_k: usize,
    /// Mean KL(p ‖ q) in nats.
    pub mean_kl: f64,
    /// Mean KL(q ‖ p) in nats.
    pub mean_reverse_kl: f64,
    /// Median of KL(p ‖ q).
    pub median_kl: f64,
    /// 90th percentile of KL(p ‖ q).
    pub p90_kl: f64,
    /// 99th percentile of KL(p ‖ q).
    pub p99_kl: f64,
    /// Largest KL(p ‖ q).
    pub max_kl: f64,
    /// Share of positions at which both name the same most likely token.
    pub top1_agreement: f64,
    /// Mean of [`Position::overlap`].
    pub top_k_overlap: f64,
}

/// Compares rows of `vocab` logits each: `reference` (p) with `candidate` (q), both `[T, vocab]`.
///
/// # Precision
/// Softmax and divergences in f64, the row's maximum subtracted, sums in an order that depends on
/// `vocab` alone.
/// A KL is summed from terms that are never negative, so that divergences down to the square of the
/// relative error of f64 are resolved; identical rows give exactly 0.
///
/// # Errors
/// [`MetricsError::LengthMismatch`]; [`MetricsError::Uneven`] if the length is no multiple of
/// `vocab`.
///
/// ```
/// use ulpscope_floats::Floats;
/// use ulpscope_metrics::compare_logits;
///
/// // p = (1/2, 1/2), q = (1/4, 3/4)
/// let p = Floats::from(vec![0.0f64, 0.0]);
/// let q = Floats::from(vec![0.0f64, 3f64.ln()]);
/// let d = compare_logits(&p, &q, 2, 10)?;
/// assert!((d.mean_kl - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-15);
/// assert_eq!((d.top1_agreement, d.top_k_overlap), (0.0, 1.0));
/// # Ok::<(), ulpscope_metrics::MetricsError>(())
/// ```
pub fn compare_logits(
    reference: &Floats,
    candidate: &Floats,
    vocab: usize,
    top_k: usize,
) -> Result<LogitDifference, MetricsError> {
    let len = same_length(reference, candidate)?;
    if len.checked_rem(vocab).unwrap_or(len) != 0 {
        return Err(MetricsError::Uneven { len, parts: vocab, what: "logits per row" });
    }
    let top_k = top_k.min(vocab);
    let rows = len.checked_div(vocab).unwrap_or(0);
    let positions = (0..rows)
        .into_par_iter()
        .map(|row| position(reference, candidate, row * vocab, vocab, top_k))
        .collect();
    Ok(summary(positions, top_k))
}

/// Negative log-likelihood in nats of token `ids[i]` under row i of `logits`, `[T, vocab]`, in f64,
/// for as many rows as there are ids; NaN if a logit of the row is NaN or plus infinity.
///
/// # Panics
/// If an id is not below `vocab`, or there are fewer rows than ids.
///
/// ```
/// use ulpscope_floats::Floats;
/// let rows = Floats::from(vec![0.0f64, 3f64.ln(), 0.0, 0.0]);
/// let found = ulpscope_metrics::nll(&rows, 2, &[1, 0]);
/// assert!((found[0] + 0.75f64.ln()).abs() < 1e-15 && (found[1] - 2f64.ln()).abs() < 1e-15);
/// ```
pub fn nll(logits: &Floats, vocab: usize, ids: &[u32]) -> Vec<f64> {
    let of = |(row, &id): (usize, &u32)| {
        let id = id as usize;
        assert!(id < vocab, "token {id} has no logit among {vocab}");
        let mut x = vec![0.0; vocab];
        logits.read_f64(row * vocab, &mut x);
        vectorised(LogOf(&x, id)).map_or(f64::NAN, |log| -log)
    };
    ids.par_iter().enumerate().map(of).collect()
}

fn position(reference: &Floats, candidate: &Floats, start: usize, vocab: usize, top_k: usize) -> Position {
    let (mut x, mut y) = (vec![0.0; vocab], vec![0.0; vocab]);
    reference.read_f64(start, &mut x);
    candidate.read_f64(start, &mut y);
    let (p, q) = (Ranking::of(&x, top_k), Ranking::of(&y, top_k));
    let Apart { kl, logsumexp } = vectorised(Divergences(&x, &y));
    let (kl, reverse_kl) = kl.unwrap_or((f64::NAN, f64::NAN));
    Position {
        kl,
        reverse_kl,
        top1: [p.top1(), q.top1()],
        margin: [p.margin(), q.margin()],
        overlap: p.overlap(&q, top_k),
        logsumexp,
    }
}

fn summary(positions: Vec<Position>, top_k: usize) -> LogitDifference {
    let mut kl: Vec<f64> = positions.iter().map(|p| p.kl).collect();
    let mean_kl = mean(&kl, 0.0);
    kl.sort_by(f64::total_cmp);
    let nan_positions = kl.iter().filter(|kl| kl.is_nan()).count();
    let quantile = |q| if nan_positions > 0 { f64::NAN } else { quantile(&kl, q) };
    let collect = |f: fn(&Position) -> f64, empty| mean(&positions.iter().map(f).collect::<Vec<_>>(), empty);
    LogitDifference {
        nan_positions,
        top_k,
        mean_kl,
        mean_reverse_kl: collect(|p| p.reverse_kl, 0.0),
        median_kl: quantile(0.5),
        p90_kl: quantile(0.9),
        p99_kl: quantile(0.99),
        max_kl: quantile(1.0),
        top1_agreement: collect(|p| f64::from(u8::from(p.agrees())), 1.0),
        top_k_overlap: collect(|p| p.overlap, 1.0),
        positions,
    }
}

fn mean(values: &[f64], empty: f64) -> f64 {
    if values.is_empty() { empty } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Of sorted values; 0 if there are none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = q * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests;
