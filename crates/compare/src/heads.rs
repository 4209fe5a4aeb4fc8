//! Comparing logits, stretch by stretch of tokens.

use burn::tensor::Tensor;
use ulpscope_decoder::bridge;
use ulpscope_floats::Floats;
use ulpscope_metrics::{Difference, compare_logits, per_row};
use ulpscope_record::{LogitDivergence, PositionDivergence, Sample};

use crate::likely::{Kept, likely};
use crate::subject::{Experiment, Watch};

/// How many pairs of logits a record keeps for the scatter plot.
const SAMPLE: usize = 4096;
/// Rows and columns that PyTorch shows at each end of a large tensor.
const EDGE: usize = 3;
/// The most likely tokens that are looked at.
const TOP: usize = 10;

/// The logits of one subject beside another's, on one prompt.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Index of the subject.
    pub subject: usize,
    /// Index of the subject that it is compared with.
    pub with: usize,
    /// How far apart they are; `arm` is the subject's name.
    pub logits: LogitDivergence,
}

/// Takes the logits of all subjects as they are computed, and keeps what is found of them.
pub(crate) struct Heads<'e> {
    ids: &'e [u32],
    pairs: Vec<Pair>,
}

/// Two subjects whose logits are compared.
struct Pair {
    subject: usize,
    with: usize,
    difference: Difference,
    found: LogitDivergence,
    agreeing: usize,
    /// Positions whose most likely tokens are named; `None` of pairs that no record holds.
    named: Option<Kept>,
}

impl<'e> Heads<'e> {
    pub(crate) fn new(experiment: &'e Experiment, prompt: usize) -> Self {
        let pairs = experiment.subjects.iter().enumerate().flat_map(|(i, subject)| {
            subject.against.iter().map(move |&with| Pair {
                subject: i,
                with,
                difference: Difference::EMPTY,
                found: LogitDivergence { arm: subject.name.clone(), prompt, ..LogitDivergence::default() },
                agreeing: 0,
                named: (subject.watch == Watch::Everything)
                    .then(|| Kept::of(experiment.prompts[prompt].len())),
            })
        });
        Heads { ids: &experiment.prompts[prompt], pairs: pairs.collect() }
    }

    /// Adds the logits of every subject, `[1, rows, V]`, for the tokens from `start` on.
    pub(crate) fn add(&mut self, start: usize, logits: Vec<Tensor<3>>) {
        let ids = self.ids;
        let shapes: Vec<_> = logits.iter().map(Tensor::dims).collect();
        let values: Vec<Floats> = logits.into_iter().map(bridge::into_floats).collect();
        for pair in &mut self.pairs {
            let [_, rows, vocabulary] = shapes[pair.subject];
            let piece =
                Piece { ids, start, rows, vocabulary, a: &values[pair.with], b: &values[pair.subject] };
            pair.add(&piece);
        }
    }

    pub(crate) fn finish(self) -> impl Iterator<Item = Compared> {
        self.pairs.into_iter().map(Pair::finish)
    }
}

/// A stretch of tokens.
struct Piece<'p> {
    ids: &'p [u32],
    start: usize,
    rows: usize,
    vocabulary: usize,
    a: &'p Floats<'p>,
    b: &'p Floats<'p>,
}

impl Pair {
    fn add(&mut self, piece: &Piece) {
        let Piece { ids, start, rows, vocabulary, a, b } = *piece;
        let each = per_row(a, b, rows).expect("one row per token");
        let kl = compare_logits(a, b, vocabulary, TOP).expect("whole rows");
        // Where logits are no numbers, no token is the most likely.
        self.agreeing += kl.positions.iter().filter(|p| p.agrees() && !p.kl.is_nan()).count();
        // The prompt's own next tokens, of which the last position has none. Only a record asks for
        // them.
        let next = &ids[(start + 1).min(ids.len())..(start + 1 + rows).min(ids.len())];
        let next = if self.named.is_some() { next } else { &[] };
        for (i, (row, position)) in each.iter().zip(&kl.positions).enumerate() {
            let both = [a, b].map(|x| x.slice(i * vocabulary..(i + 1) * vocabulary));
            let named = self.named.as_mut().is_some_and(|kept| kept.takes(start + i, position.agrees()));
            self.found.by_position.push(PositionDivergence {
                equal: row.equal_fraction(),
                mean_abs: row.mean_abs(),
                max_abs: row.max_abs,
                kl: position.kl,
                top1: position.top1.map(|id| u32::try_from(id).expect("token ids are u32")),
                margin: position.margin,
                nll: [0, 1].map(|side| match next.get(i) {
                    Some(&id) => position.logsumexp[side] - both[side].get(id as usize),
                    None => f64::NAN,
                }),
                top: if named {
                    [0, 1].map(|side| likely(&both[side], TOP, position.logsumexp[side]))
                } else {
                    Default::default()
                },
            });
            self.difference = self.difference.merge(*row);
        }
        self.sample(piece);
        for (x, corner) in [a, b].into_iter().zip(&mut self.found.corners) {
            corner.shape = vec![1, ids.len(), vocabulary];
            corner.dtype = x.dtype().to_string();
            for row in edges(ids.len()).into_iter().filter(|row| (start..start + rows).contains(row)) {
                let at = |column| x.get((row - start) * vocabulary + column);
                corner.rows.push(edges(vocabulary).into_iter().map(at).collect());
            }
        }
    }

    /// Keeps pairs that are evenly spaced over all tokens.
    fn sample(&mut self, piece: &Piece) {
        let stride = (piece.ids.len() * piece.vocabulary).div_ceil(SAMPLE).max(1);
        let (first, end) = (piece.start * piece.vocabulary, (piece.start + piece.rows) * piece.vocabulary);
        let Sample { stride: kept, a, b } = &mut self.found.sample;
        *kept = stride;
        for i in (first.next_multiple_of(stride)..end).step_by(stride) {
            a.push(piece.a.get(i - first));
            b.push(piece.b.get(i - first));
        }
    }

    fn finish(self) -> Compared {
        let Pair { subject, with, difference, mut found, agreeing, .. } = self;
        let positions = found.by_position.len().max(1) as f64;
        found.equal = difference.equal_fraction();
        found.mean_abs = difference.mean_abs();
        found.max_abs = difference.max_abs;
        found.allclose = difference.allclose;
        found.kl = found.by_position.iter().map(|p| p.kl).sum::<f64>() / positions;
        found.top1_agreement = agreeing as f64 / positions;
        found.nonfinite = difference.nonfinite;
        Compared { subject, with, logits: found }
    }
}

/// The first and last three indices below `len`, or all if there are at most six.
fn edges(len: usize) -> Vec<usize> {
    if len <= 2 * EDGE { (0..len).collect() } else { (0..EDGE).chain(len - EDGE..len).collect() }
}
