//! Free runs: what has accumulated at the logits, with and without the causes that were found.

use burn::tensor::Device;
use ulpscope_compare::{CompareError, Compared, Free, NamedArm, Reference, Setting, free, in_order};
use ulpscope_decoder::Accumulation;
use ulpscope_floats::DType;
use ulpscope_record::{Counterfactual, Direction, LogitDivergence};

use super::found::Found;
use crate::arms::proof::wide;
use crate::statistics::{interval, kl_and_flips, mean};

/// Causes that are run each by itself; of more, only all together.
const ALONE: usize = 8;
/// How far the shares of several causes may be from the whole, to add up.
const WITHIN: f64 = 0.1;

/// One of the subjects whose logits are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run(usize);

/// The recording.
const RECORDED: Run = Run(0);
/// Ours as it is, the first that is run.
const OURS: Run = Run(1);

/// What free runs gave, and which is which.
pub(crate) struct Account {
    compared: Vec<Compared>,
    everything: Option<Run>,
    alone: Vec<Option<Run>>,
    orders: Vec<Run>,
    wide: Option<Wide>,
    /// The format that intrinsic sizes are computed in.
    pub(crate) format: DType,
}

/// The same in a format that does not round in between.
struct Wide {
    base: Run,
    everything: Run,
    alone: Vec<Option<Run>>,
}

/// Part of the divergence that goes away with a cause, with its interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) share: f64,
    pub(crate) interval: [f64; 2],
}

impl Share {
    pub(crate) const UNKNOWN: Share = Share { share: f64::NAN, interval: [f64::NAN; 2] };
}

/// What is run.
#[derive(Default)]
struct Plan(Vec<Free>);

impl Plan {
    fn add(&mut self, settings: Vec<Setting>, against: &[Run]) -> Run {
        let told = self.0.is_empty();
        let against = against.iter().map(|run| run.0).collect();
        self.0.push(Free { name: format!("run {}", self.0.len()), settings, against, told });
        Run(self.0.len())
    }
}

impl Account {
    pub(crate) fn measured(
        arm: &NamedArm,
        found: &[Found],
        references: &[Reference],
        orders: &[Accumulation],
        device: &Device,
    ) -> Result<Self, CompareError> {
        let base = Setting::of(arm);
        let plain = vec![base.clone(); base.architecture.parts().len()];
        let runs_free = |f: &Found| f.changes.iter().any(|c| c.runs_free);
        let any = found.iter().any(runs_free);
        let format = wide(std::slice::from_ref(arm));
        let widened = |mut settings: Vec<Setting>| {
            settings.iter_mut().for_each(|setting| setting.compute = Some(format));
            settings
        };
        let all = with_changes(&plain, found.iter());
        let singly = |i: usize| runs_free(&found[i]) && i < ALONE;
        let only = |i: usize| with_changes(&plain, found.get(i));

        let mut plan = Plan::default();
        plan.add(plain.clone(), &[RECORDED]);
        plan.0[0].name.clone_from(&arm.name);
        let in_order = |order: Accumulation| plain.iter().map(|s| in_order(s, order)).collect();
        let orders = orders.iter().map(|&order| plan.add(in_order(order), &[OURS])).collect();
        let everything = any.then(|| plan.add(all.clone(), &[RECORDED]));
        let alone: Vec<Option<Run>> = (0..found.len())
            .map(|i| match found.len() {
                1 => everything,
                _ => singly(i).then(|| plan.add(only(i), &[RECORDED])),
            })
            .collect();
        let wide = any.then(|| {
            let base = plan.add(widened(plain.clone()), &[]);
            let everything = plan.add(widened(all.clone()), &[base]);
            let alone = (0..found.len())
                .map(|i| match found.len() {
                    1 => Some(everything),
                    _ => singly(i).then(|| plan.add(widened(only(i)), &[base, everything])),
                })
                .collect();
            Wide { base, everything, alone }
        });
        let compared = free(arm, &plan.0, references, device, |_| ())?;
        Ok(Account { compared, everything, alone, orders, wide, format })
    }

    fn logits(&self, subject: Run, with: Run) -> impl Iterator<Item = &LogitDivergence> {
        let pair = [subject.0, with.0];
        self.compared.iter().filter(move |c| [c.subject, c.with] == pair).map(|c| &c.logits)
    }

    fn kl(&self, subject: Run, with: Run) -> Vec<f64> {
        self.logits(subject, with).flat_map(|l| l.by_position.iter().map(|p| p.kl)).collect()
    }

    /// Ours as it is against the trace.
    pub(crate) fn own_logits(&self) -> Vec<LogitDivergence> {
        self.logits(OURS, RECORDED).cloned().collect()
    }

    /// The subjects that are ours in other orders of summation, as comparisons count them.
    pub(crate) fn orders(&self) -> Vec<usize> {
        self.orders.iter().map(|run| run.0).collect()
    }

    /// What is compared as an observation of the orders' logits: against the first subject, as the
    /// floor reads it.
    pub(crate) fn as_observed(&self) -> Vec<Compared> {
        let pair = [OURS.0, RECORDED.0];
        let own = self.compared.iter().filter(|c| [c.subject, c.with] == pair).cloned();
        let noise = self.compared.iter().filter(|c| self.orders.contains(&Run(c.subject)));
        own.chain(noise.map(|c| Compared { with: RECORDED.0, ..c.clone() })).collect()
    }

    /// Whether ours with everything that was found has every bit of every trace's logits.
    pub(crate) fn bit_equal(&self) -> bool {
        let mut all = self.everything.iter().flat_map(|&run| self.logits(run, RECORDED)).peekable();
        all.peek().is_some() && all.all(|l| l.equal == 1.0)
    }

    /// Mean KL of ours against the trace: as it is, and with everything that was found.
    pub(crate) fn accumulated(&self) -> [Option<f64>; 2] {
        let mean = |run: Run| {
            let kl = self.kl(run, RECORDED);
            (!kl.is_empty()).then(|| kl.iter().sum::<f64>() / kl.len() as f64)
        };
        [mean(OURS), self.everything.and_then(mean)]
    }

    /// KL of one cause alone in the wide format, and positions at which the most likely token
    /// flips.
    pub(crate) fn intrinsic(&self, cause: usize) -> (f64, [usize; 2]) {
        let Some((wide, run)) = self.wide.as_ref().and_then(|w| Some((w, w.alone[cause]?))) else {
            return (f64::NAN, [0, 0]);
        };
        kl_and_flips(self.logits(run, wide.base))
    }

    /// KL of all causes together in the wide format, the mean over positions; NaN where none was
    /// run.
    pub(crate) fn together(&self) -> f64 {
        self.wide.as_ref().map_or(f64::NAN, |wide| mean(&self.kl(wide.everything, wide.base)))
    }

    /// KL of all causes together in the wide format, by position of a prompt.
    pub(crate) fn intrinsic_by_position(&self, prompt: usize) -> Vec<f64> {
        let Some(wide) = &self.wide else { return Vec::new() };
        let found = self.logits(wide.everything, wide.base).find(|l| l.prompt == prompt);
        found.map_or(Vec::new(), |l| l.by_position.iter().map(|p| p.kl).collect())
    }

    /// The share of each cause in the divergence, if the shares add up; `None` if they do not, as
    /// where causes undo each other.
    pub(crate) fn shares(&self) -> Option<Vec<Share>> {
        let shares: Vec<Share> = (0..self.alone.len()).map(|cause| self.share(cause)).collect();
        let known: Vec<f64> = shares.iter().map(|s| s.share).filter(|share| !share.is_nan()).collect();
        let all = self.alone.len() <= ALONE;
        (shares.len() < 2 || add_up(&known, all)).then_some(shares)
    }

    /// Share of the KL that goes away when one cause is put into ours: of the measured KL where
    /// there is one cause, else in the wide format of the distance to ours with all of them.
    fn share(&self, cause: usize) -> Share {
        let (with, without) = match (self.alone.len(), &self.wide) {
            (1, _) => {
                let left = self.alone[cause].map_or(Vec::new(), |run| self.kl(run, RECORDED));
                (self.kl(OURS, RECORDED), left)
            }
            (_, Some(wide)) => {
                let left = wide.alone[cause].map_or(Vec::new(), |run| self.kl(run, wide.everything));
                (self.kl(wide.everything, wide.base), left)
            }
            _ => (Vec::new(), Vec::new()),
        };
        if with.is_empty() || without.len() != with.len() {
            return Share::UNKNOWN;
        }
        let share = |sample: &[usize]| {
            let sum = |kl: &[f64]| sample.iter().map(|&i| kl[i]).sum::<f64>();
            let whole = sum(&with);
            if whole == 0.0 { 0.0 } else { 1.0 - sum(&without) / whole }
        };
        let all: Vec<usize> = (0..with.len()).collect();
        Share { share: share(&all), interval: interval(with.len(), share) }
    }

    /// Every run, as records have it; causes go by these names.
    pub(crate) fn counterfactuals(&self, causes: &[String], compute: DType) -> Vec<Counterfactual> {
        let entry = |factor: &str, direction: Direction, l: &LogitDivergence| Counterfactual {
            factor: factor.to_owned(),
            direction,
            prompt: l.prompt,
            compute: compute.to_string(),
            equal: l.equal,
            bit_equal: l.equal == 1.0,
            kl: l.kl,
            max_abs: l.max_abs,
        };
        let mut all: Vec<Counterfactual> =
            self.logits(OURS, RECORDED).map(|l| entry("everything", Direction::Neither, l)).collect();
        for (name, run) in causes.iter().zip(&self.alone) {
            let runs = run.iter().flat_map(|&run| self.logits(run, RECORDED));
            all.extend(runs.map(|l| entry(name, Direction::Restored, l)));
        }
        if causes.len() > 1 {
            let runs = self.everything.iter().flat_map(|&run| self.logits(run, RECORDED));
            all.extend(runs.map(|l| entry("everything", Direction::Restored, l)));
        }
        all
    }
}

/// Whether shares add up: none is negative, and if they are `all`, the whole comes to about one. Of
/// no shares there is no doubt.
fn add_up(shares: &[f64], all: bool) -> bool {
    let sum: f64 = shares.iter().sum();
    if shares.is_empty() {
        return true;
    }
    shares.iter().all(|share| *share >= 0.0) && sum <= 1.0 + WITHIN && (!all || sum >= 1.0 - WITHIN)
}

/// The settings of all parts with what these causes change throughout.
fn with_changes<'f>(plain: &[Setting], found: impl IntoIterator<Item = &'f Found>) -> Vec<Setting> {
    let mut settings = plain.to_vec();
    let Some(parts) = settings.first().map(|setting| setting.architecture.parts()) else { return settings };
    for change in found.into_iter().flat_map(|f| &f.changes).filter(|change| change.runs_free) {
        let at = parts.iter().position(|part| *part == change.part).unwrap_or(0);
        change.change.apply(change.part, &mut settings[at]);
    }
    // Tables are made in the stem; what was changed there holds for all parts that read the config.
    if let Some((stem, rest)) = settings.split_first_mut() {
        rest.iter_mut().for_each(|setting| setting.rotary = stem.rotary.clone());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        assert!(add_up(&[0.7, 0.3], true) && add_up(&[0.95, 0.0], true));
        assert!(!add_up(&[-0.17, 0.6], true) && !add_up(&[0.8, 0.8], true) && !add_up(&[0.5], true));
        assert!(add_up(&[], true) && add_up(&[0.5], false) && !add_up(&[-0.1, 0.5], false));
    }
}
