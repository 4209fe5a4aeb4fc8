//! The most likely tokens of one row.

use std::cmp::Ordering;

/// The largest logits of a row, largest first, and where they are.
pub(super) struct Ranking {
    /// Index and value, at least two if the row has as many.
    top: Vec<(usize, f64)>,
}

/// `Less` if `a` comes before `b`: the larger value, a NaN before all.
fn by_size(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Logits that are looked at together.
const PIECE: usize = 64;

impl Ranking {
    pub(super) fn of(logits: &[f64], top_k: usize) -> Ranking {
        let keep = top_k.max(2);
        let mut top: Vec<(usize, f64)> = Vec::with_capacity(keep + 1);
        for (n, piece) in logits.chunks(PIECE).enumerate() {
            // Most pieces have nothing to enter, which vector code sees at once. No NaN is at most
            // anything.
            let least = top.get(keep - 1).map_or(f64::NAN, |&(_, x)| x);
            if piece.iter().fold(true, |none, &x| none & (x <= least)) {
                continue;
            }
            for (i, &x) in piece.iter().enumerate() {
                if top.len() == keep && top.last().is_some_and(|last| by_size(x, last.1).is_ge()) {
                    continue;
                }
                // After all that are not smaller, so that of equal values the lower index comes
                // first.
                let place = top.partition_point(|&(_, y)| by_size(y, x).is_le());
                top.insert(place, (n * PIECE + i, x));
                top.truncate(keep);
            }
        }
        Ranking { top }
    }

    pub(super) fn top1(&self) -> usize {
        self.top.first().map_or(0, |&(i, _)| i)
    }

    pub(super) fn margin(&self) -> f64 {
        match self.top[..] {
            [first, second, ..] => first.1 - second.1,
            _ => f64::INFINITY,
        }
    }

    /// Share of the first `k` that are also among the other's first `k`; 1 if `k` is 0.
    pub(super) fn overlap(&self, other: &Ranking, k: usize) -> f64 {
        let tokens = |ranking: &Ranking| -> Vec<usize> {
            let mut tokens: Vec<_> = ranking.top.iter().take(k).map(|&(i, _)| i).collect();
            tokens.sort_unstable();
            tokens
        };
        let (ours, theirs) = (tokens(self), tokens(other));
        if k == 0 {
            return 1.0;
        }
        ours.iter().filter(|i| theirs.binary_search(i).is_ok()).count() as f64 / k as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn indices(logits: &[f64], k: usize) -> Vec<usize> {
        Ranking::of(logits, k).top.iter().map(|&(i, _)| i).collect()
    }

    #[test]
    fn ties_go_to_the_lowest_index_and_nan_comes_first() {
        assert_eq!(indices(&[1.0, 3.0, 3.0, 2.0, 3.0], 4), [1, 2, 4, 3]);
        assert_eq!(indices(&[0.0, -0.0, f64::NEG_INFINITY], 3), [0, 1, 2]);
        let with_nan = [f64::INFINITY, f64::NAN, 5.0, f64::NAN];
        assert_eq!(indices(&with_nan, 4), [1, 3, 0, 2]);
        assert!(Ranking::of(&with_nan, 1).margin().is_nan());
    }

    #[test]
    fn margins() {
        assert_eq!(Ranking::of(&[1.0, 4.0, 2.5], 1).margin(), 1.5);
        assert_eq!(Ranking::of(&[4.0, 4.0], 1).margin(), 0.0);
        assert_eq!(Ranking::of(&[4.0], 1).margin(), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn it_is_a_stable_sort(values in prop::collection::vec(-4i8..4, 1..300), k in 2usize..12) {
            let logits: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|&i, &j| logits[j].total_cmp(&logits[i]));
            sorted.truncate(k);
            prop_assert_eq!(indices(&logits, k), sorted);
        }
    }
}
