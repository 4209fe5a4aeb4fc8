//! Free runs: what has accumulated at the logits, with and without the causes that were found.

use burn::tensor::Device;
use ulpscope_compare::{CompareError, Compared, Free, NamedArm, Reference, Setting, free, in_order};
use ulpscope_decoder::Accumulation;
use ulpscope_floats::DType;
use ulpscope_record::{Counterfactual, Direction, LogitDivergence};

use super::hypothesis::Change;
use super::search::Found;
use crate::arms::proof::wide;
use crate::statistics::interval;

/// Causes that are run each by itself; of more, only all together.
const ALONE: usize = 8;

/// Index of the recording among the subjects.
const TRACE: usize = 0;
/// Index of ours as it is.
const OURS: usize = 1;

/// What free runs gave, and which is which.
pub(super) struct Account {
    compared: Vec<Compared>,
    everything: Option<usize>,
    alone: Vec<Option<usize>>,
    pub(super) orders: Vec<usize>,
    wide: Option<Wide>,
    /// The format that intrinsic sizes are computed in.
    pub(super) format: DType,
}

struct Wide {
    base: usize,
    everything: usize,
    alone: Vec<Option<usize>>,
}

impl Account {
    pub(super) fn of(
        arm: &NamedArm,
        found: &[Found],
        references: &[Reference],
        orders: &[Accumulation],
        device: &Device,
    ) -> Result<Self, CompareError> {
        let base = Setting::of(arm);
        let parts = base.architecture.parts();
        let plain = vec![base.clone(); parts.len()];
        let changed = |which: &dyn Fn(usize) -> bool| {
            let mut settings = plain.clone();
            for (_, f) in found.iter().enumerate().filter(|(i, _)| which(*i)) {
                for (part, change, whole) in &f.changes {
                    let at = parts.iter().position(|p| p == part).unwrap_or(0);
                    if *whole {
                        change.apply(*part, &mut settings[at]);
                    }
                }
            }
            follow_rotary(&mut settings);
            settings
        };
        let runs_at_all = |f: &Found| f.changes.iter().any(|(_, _, whole)| *whole);
        let any = found.iter().any(runs_at_all);
        let format = wide(std::slice::from_ref(arm));
        let widened = |mut settings: Vec<Setting>| {
            settings.iter_mut().for_each(|setting| setting.compute = Some(format));
            settings
        };

        let mut runs: Vec<Free> = Vec::new();
        let mut add = |name: String, settings: Vec<Setting>, against: Vec<usize>| {
            let told = runs.is_empty();
            runs.push(Free { name, settings, against, told });
            runs.len()
        };
        add(arm.name.clone(), plain.clone(), vec![TRACE]);
        let orders = (orders.iter())
            .map(|&order| {
                let settings = plain.iter().map(|setting| in_order(setting, order)).collect();
                add(format!("{}, {order}", arm.name), settings, vec![OURS])
            })
            .collect();
        let all = changed(&|_| true);
        let everything = any.then(|| add("everything".to_owned(), all.clone(), vec![TRACE]));
        let single = |i: usize| runs_at_all(&found[i]) && i < ALONE;
        let alone: Vec<Option<usize>> = (0..found.len())
            .map(|i| match found.len() {
                1 => everything,
                _ => single(i).then(|| add(found[i].subject.clone(), changed(&|j| i == j), vec![TRACE])),
            })
            .collect();
        let wide = any.then(|| {
            let base = add("wide".to_owned(), widened(plain.clone()), Vec::new());
            let everything = add("wide, everything".to_owned(), widened(all.clone()), vec![base]);
            let alone = (0..found.len())
                .map(|i| match found.len() {
                    1 => Some(everything),
                    _ => single(i).then(|| {
                        let settings = widened(changed(&|j| i == j));
                        add(format!("wide, {i}"), settings, vec![base, everything])
                    }),
                })
                .collect();
            Wide { base, everything, alone }
        });
        let compared = free(arm, &runs, references, device, |_| ())?;
        Ok(Account { compared, everything, alone, orders, wide, format })
    }

    fn logits(&self, subject: usize, with: usize) -> impl Iterator<Item = &LogitDivergence> {
        self.compared.iter().filter(move |c| c.subject == subject && c.with == with).map(|c| &c.logits)
    }

    fn kl(&self, subject: usize, with: usize) -> Vec<f64> {
        self.logits(subject, with).flat_map(|l| l.by_position.iter().map(|p| p.kl)).collect()
    }

    /// Ours as it is against the trace.
    pub(super) fn own_logits(&self) -> Vec<LogitDivergence> {
        self.logits(OURS, TRACE).cloned().collect()
    }

    /// What is compared as an observation of the orders' logits: against the first subject, as the floor reads it.
    pub(super) fn as_observed(&self) -> Vec<Compared> {
        let own = self.compared.iter().filter(|c| c.subject == OURS && c.with == TRACE).cloned();
        let noise = self.compared.iter().filter(|c| self.orders.contains(&c.subject));
        own.chain(noise.map(|c| Compared { with: TRACE, ..c.clone() })).collect()
    }

    /// Whether ours with everything that was found has every bit of every trace's logits.
    pub(super) fn bit_equal(&self) -> bool {
        let all: Vec<bool> =
            self.everything.iter().flat_map(|&run| self.logits(run, TRACE)).map(|l| l.equal == 1.0).collect();
        !all.is_empty() && all.iter().all(|equal| *equal)
    }

    /// Mean KL of ours against the trace: as it is, and with everything that was found.
    pub(super) fn accumulated(&self) -> [Option<f64>; 2] {
        let mean = |run: usize| {
            let kl = self.kl(run, TRACE);
            (!kl.is_empty()).then(|| kl.iter().sum::<f64>() / kl.len() as f64)
        };
        [mean(OURS), self.everything.and_then(mean)]
    }

    /// KL of one cause alone in the wide format, and positions at which the most likely token flips.
    pub(super) fn intrinsic(&self, cause: usize) -> (f64, [usize; 2]) {
        let Some((wide, run)) = self.wide.as_ref().and_then(|w| Some((w, w.alone[cause]?))) else {
            return (f64::NAN, [0, 0]);
        };
        let positions: Vec<_> = self.logits(run, wide.base).flat_map(|l| &l.by_position).collect();
        let flips = positions.iter().filter(|p| p.top1[0] != p.top1[1]).count();
        let kl = positions.iter().map(|p| p.kl).sum::<f64>() / positions.len().max(1) as f64;
        (kl, [flips, positions.len()])
    }

    /// KL of all causes together in the wide format, by position of a prompt.
    pub(super) fn intrinsic_by_position(&self, prompt: usize) -> Vec<f64> {
        let Some(wide) = &self.wide else { return Vec::new() };
        let found = self.logits(wide.everything, wide.base).find(|l| l.prompt == prompt);
        found.map_or(Vec::new(), |l| l.by_position.iter().map(|p| p.kl).collect())
    }

    /// Share of the KL that goes away when one cause is put into ours, with its interval: of the measured KL where there
    /// is one cause, else in the wide format of the distance to ours with all of them.
    pub(super) fn share(&self, cause: usize) -> (f64, [f64; 2]) {
        let (with, without) = match (self.alone.len(), &self.wide) {
            (1, _) => (self.kl(OURS, TRACE), self.alone[cause].map_or(Vec::new(), |run| self.kl(run, TRACE))),
            (_, Some(wide)) => {
                let left = wide.alone[cause].map_or(Vec::new(), |run| self.kl(run, wide.everything));
                (self.kl(wide.everything, wide.base), left)
            }
            _ => (Vec::new(), Vec::new()),
        };
        if with.is_empty() || without.len() != with.len() {
            return (f64::NAN, [f64::NAN; 2]);
        }
        let share = |sample: &[usize]| {
            let sum = |kl: &[f64]| sample.iter().map(|&i| kl[i]).sum::<f64>();
            let whole = sum(&with);
            if whole == 0.0 { 0.0 } else { 1.0 - sum(&without) / whole }
        };
        let all: Vec<usize> = (0..with.len()).collect();
        (share(&all), interval(with.len(), share))
    }

    /// Every run, as records have it.
    pub(super) fn counterfactuals(&self, found: &[Found], compute: DType) -> Vec<Counterfactual> {
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
            self.logits(OURS, TRACE).map(|l| entry("everything", Direction::Neither, l)).collect();
        for (f, run) in found.iter().zip(&self.alone) {
            let runs = run.iter().flat_map(|&run| self.logits(run, TRACE));
            all.extend(runs.map(|l| entry(&f.subject, Direction::Restored, l)));
        }
        if found.len() > 1 {
            let runs = self.everything.iter().flat_map(|&run| self.logits(run, TRACE));
            all.extend(runs.map(|l| entry("everything", Direction::Restored, l)));
        }
        all
    }
}

/// Tables are made in the stem; what was changed there holds for all parts that read the config.
fn follow_rotary(settings: &mut [Setting]) {
    let Some((stem, rest)) = settings.split_first_mut() else { return };
    for setting in rest {
        setting.rotary = stem.rotary.clone();
    }
}

/// Whether a change is of a parameter.
pub(super) fn of_parameter(change: &Change) -> bool {
    matches!(change, Change::Parameters(_))
}
