//! What an explanation means for the model: decided here from typed values, put into words in
//! [`words`](crate::words).

use ulpscope_record::{
    Cause, Consequence, Coverage, Decision, Explanation, LogitDivergence, Proof, Severity, Size, Status,
};

use crate::statistics::mean;
use crate::thresholds::{ADDITIVE, DECIDES, LEAST_KL};

/// What is known beside the fields of an explanation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'f> {
    pub(crate) found: &'f Explanation,
    /// Of the arm against the reference.
    pub(crate) logits: &'f [LogitDivergence],
    pub(crate) coverage: &'f Coverage,
    /// Whether any site or logit differs.
    pub(crate) differs: bool,
    /// Whether the reference holds NaN or infinity, next to which nothing can be judged.
    pub(crate) blind: bool,
    /// Prompt and position from which on the arm's logits are no numbers, where the reference's
    /// are.
    pub(crate) lost: Option<[usize; 2]>,
    /// Whether nothing differs but what two honest programs differ by: orders of summation, last
    /// bits of functions.
    pub(crate) noise_alone: bool,
    /// Whether the two hold some of what was compared in two formats, in which equal numbers are
    /// not equal bits.
    pub(crate) recast: bool,
    /// KL in nats of all causes together in the wide format; NaN where it was not measured.
    pub(crate) together: f64,
}

impl Facts<'_> {
    /// What was measured.
    pub(crate) fn size(&self) -> Size {
        let decisions = &self.found.decisions;
        let count = |of: fn(&Decision) -> usize| decisions.iter().map(of).sum::<usize>();
        let positions = || self.logits.iter().flat_map(|l| &l.by_position);
        let kl: Vec<f64> = positions().map(|p| p.kl).collect();
        let floors: Vec<f64> = self.found.floor.logits.iter().map(|l| l.kl).collect();
        let flips = positions().filter(|p| p.top1[0] != p.top1[1]).count();
        Size {
            kl: mean(&kl),
            floor_kl: mean(&floors),
            floor_most: floors.iter().copied().reduce(f64::max).unwrap_or(f64::NAN),
            intrinsic_kl: self.together,
            additive: is_additive(&self.found.causes),
            prompts: self.logits.len(),
            positions: kl.len(),
            flips,
            clear_flips: count(|d| d.flips_outside_near_ties),
            continued: decisions.iter().map(|d| d.continued).max().unwrap_or(0),
            parts_at: decisions.iter().filter_map(|d| d.first_different_token).min(),
            sites: [self.coverage.compared, self.coverage.sites],
        }
    }

    /// What the divergence does to the output.
    pub(crate) fn consequence(&self, size: &Size) -> Consequence {
        let compared = size.positions > 0 || size.sites[0] > 0;
        let exceeds = self.found.growth.iter().any(|bucket| bucket.exceeds);
        let parts_clearly = self.found.decisions.iter().any(|d| d.near_tie == Some(false));
        match () {
            () if self.blind || !compared => Consequence::Undecided,
            () if self.lost.is_some() => Consequence::ChangesOutput,
            // Where sites lack, equal logits alone tell.
            () if !self.differs && size.positions == 0 && size.sites[0] < size.sites[1] => {
                Consequence::Undecided
            }
            () if !self.differs => Consequence::Equal,
            // Sites alone were compared.
            () if size.positions == 0 && self.found.origins.is_empty() => Consequence::Noise,
            () if size.positions == 0 => Consequence::AboveNoise,
            () if self.logits.iter().all(|l| l.equal == 1.0) => Consequence::Equal,
            () if self.noise_alone => Consequence::Noise,
            () if exceeds && (size.clear_flips > 0 || parts_clearly) => Consequence::ChangesOutput,
            () if exceeds => Consequence::AboveNoise,
            () if size.kl <= LEAST_KL => Consequence::Noise,
            // Without other orders there is nothing to hold it against.
            () if size.floor_kl.is_nan() => Consequence::AboveNoise,
            () if size.positions >= DECIDES => Consequence::Noise,
            () => Consequence::Undecided,
        }
    }

    /// How the causes were shown.
    pub(crate) fn proof(&self) -> Proof {
        let causes = &self.found.causes;
        match self.found.status {
            _ if causes.is_empty() => Proof::None,
            Status::Explained if causes.len() > 1 && causes.iter().all(|c| c.sufficient) => Proof::Bits,
            _ if causes.iter().all(|c| c.bit_equal) => Proof::Bits,
            _ if causes.iter().all(|c| c.necessary && c.sufficient) => Proof::BothWays,
            _ if causes.iter().all(|c| c.necessary) => Proof::OnItsInputs,
            _ => Proof::ReadOff,
        }
    }

    /// The worst of the causes.
    pub(crate) fn severity(&self) -> Option<Severity> {
        self.found.causes.iter().map(Cause::severity).max()
    }
}

/// Whether the shares of several causes add up to the whole, so that each is one. Causes that work
/// through each other have none.
fn is_additive(causes: &[Cause]) -> bool {
    let shares = || causes.iter().map(|cause| cause.kl_share);
    causes.len() < 2 || shares().all(|share| share >= 0.0) && (shares().sum::<f64>() - 1.0).abs() <= ADDITIVE
}
