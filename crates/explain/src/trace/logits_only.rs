//! Recordings of logits alone: how far apart the outputs are, beside what orders of summation make
//! of ours.

use ulpscope_record::{Explanation, LogitDivergence, Status};

use crate::statistics::mean_or_zero;

/// How many times the largest noise counts as noise: five orders of summation are a small sample.
const NOISE: f64 = 2.0;

/// What logits alone come to.
pub(crate) struct LogitsAlone {
    pub(crate) prompts: usize,
    pub(crate) positions: usize,
    pub(crate) kl: f64,
    /// The largest KL, with its prompt and position.
    pub(crate) most: (f64, usize, usize),
    pub(crate) flips: usize,
    pub(crate) equal: bool,
    pub(crate) floor: f64,
    pub(crate) floor_most: f64,
    pub(crate) floor_flips: f64,
    /// Whether some prompt's logits are further apart than noise makes them.
    pub(crate) beyond: bool,
}

impl LogitsAlone {
    pub(crate) fn measured(explanation: &Explanation, logits: &[LogitDivergence]) -> Self {
        let all = || {
            logits.iter().flat_map(|l| l.by_position.iter().enumerate().map(move |(i, p)| (l.prompt, i, p)))
        };
        let positions = all().count();
        let floor = |prompt: usize| explanation.floor.logits.iter().filter(move |l| l.prompt == prompt);
        let largest = |prompt: usize| floor(prompt).map(|l| l.kl).fold(0.0, f64::max);
        let kl: Vec<f64> = all().map(|(.., p)| p.kl).collect();
        let most = all().map(|(prompt, i, p)| (p.kl, prompt, i)).max_by(|x, y| x.0.total_cmp(&y.0));
        let noise: Vec<f64> = explanation.floor.logits.iter().map(|l| l.kl).collect();
        let flips = explanation.floor.logits.iter().map(|l| 1.0 - l.top1_agreement).collect::<Vec<_>>();
        LogitsAlone {
            prompts: logits.len(),
            positions,
            kl: mean_or_zero(&kl),
            most: most.unwrap_or((0.0, 0, 0)),
            flips: all().filter(|(.., p)| p.top1[0] != p.top1[1]).count(),
            equal: logits.iter().all(|l| l.equal == 1.0),
            floor: mean_or_zero(&noise),
            floor_most: noise.iter().copied().fold(0.0, f64::max),
            floor_flips: mean_or_zero(&flips) * positions as f64,
            beyond: logits.iter().any(|l| l.kl.is_nan() || l.kl > NOISE * largest(l.prompt)),
        }
    }

    /// How an explanation of logits alone ends.
    pub(crate) fn status(&self) -> Status {
        match (self.equal, self.beyond) {
            (true, _) => Status::NoDifference,
            (false, false) => Status::Explained,
            (false, true) => Status::Unexplained,
        }
    }
}
