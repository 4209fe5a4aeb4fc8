//! The most likely tokens at some positions, for people to read.

use ulpscope_floats::Floats;
use ulpscope_record::Candidate;

/// Evenly spaced positions of a prompt that are kept, and as many flips beside them.
const POSITIONS: usize = 32;

/// Which positions of a prompt are kept: evenly spaced ones, the last, and the first flips of the
/// most likely token.
pub(crate) struct Kept {
    stride: usize,
    last: usize,
    flips: usize,
}

impl Kept {
    /// Of a prompt of `tokens` tokens.
    pub(crate) fn of(tokens: usize) -> Self {
        Kept { stride: tokens.div_ceil(POSITIONS).max(1), last: tokens.saturating_sub(1), flips: 0 }
    }

    /// Whether this position is kept; each is asked about once, in their order.
    pub(crate) fn takes(&mut self, position: usize, agrees: bool) -> bool {
        if position.is_multiple_of(self.stride) || position == self.last {
            return true;
        }
        let flip = !agrees && self.flips < POSITIONS;
        self.flips += usize::from(flip);
        flip
    }
}

/// The `most` largest of one row of logits, `logsumexp` of which is `ln Σ e^logit`, largest first:
/// of equal ones the lower index, NaN before all, as in the rest of the record.
pub(crate) fn likely(row: &Floats, most: usize, logsumexp: f64) -> Vec<Candidate> {
    let logits = row.to_f64();
    let mut top: Vec<(usize, f64)> = Vec::with_capacity(most + 1);
    let before = |a: f64, b: f64| a > b || (a.is_nan() && !b.is_nan());
    for (id, &logit) in logits.iter().enumerate() {
        if top.len() == most && top.last().is_none_or(|&(_, least)| !before(logit, least)) {
            continue;
        }
        let place = top.partition_point(|&(_, other)| !before(logit, other));
        top.insert(place, (id, logit));
        top.truncate(most);
    }
    let id = |id: usize| u32::try_from(id).expect("token ids are u32");
    (top.into_iter())
        .map(|(place, logit)| Candidate { id: id(place), logit, probability: (logit - logsumexp).exp() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_with_their_probabilities() {
        let row = Floats::from(vec![0.0f64, 3f64.ln(), -1e9, 3f64.ln(), 2f64.ln()]);
        let top = likely(&row, 3, 9f64.ln());
        assert_eq!(top.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 3, 4]);
        for (candidate, ninths) in top.iter().zip([3.0, 3.0, 2.0]) {
            assert!((candidate.probability - ninths / 9.0).abs() < 1e-15, "{candidate:?}");
        }
        assert_eq!(likely(&row, 9, 9f64.ln()).len(), 5);
        assert!(likely(&Floats::from(Vec::<f64>::new()), 3, f64::NAN).is_empty());
    }

    #[test]
    fn nan_comes_first_and_has_no_probability() {
        let top = likely(&Floats::from(vec![1.0f64, f64::NAN, f64::INFINITY]), 2, f64::NAN);
        assert_eq!((top[0].id, top[1].id), (1, 2));
        assert!(top.iter().all(|c| c.probability.is_nan()));
    }

    #[test]
    fn of_a_long_prompt_some_positions_and_the_first_flips() {
        let all = |tokens: usize, agrees: bool| {
            let mut kept = Kept::of(tokens);
            (0..tokens).filter(|&at| kept.takes(at, agrees)).count()
        };
        assert_eq!([all(1, true), all(3, true), all(32, false)], [1, 3, 32]);
        assert_eq!([all(4096, true), all(4096, false)], [33, 65]);
    }
}
