//! Counterfactuals: each factor restored in the arm and injected into the reference, by running it.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_compare::{
    CompareError, Experiment, Keep, Made, Mix, NamedArm, Observed, Plan, Step, Subject, Take, Watch,
    observe_keeping,
};
use ulpscope_decoder::{Architecture, Departure, Semantics, Variants};
use ulpscope_floats::DType;
use ulpscope_record::{Counterfactual, Direction, LogitDivergence};
use ulpscope_weights::{Arm, LoadDType, Recipe};

use crate::arms::factor::Factor;
use crate::layer_groups::class;
use crate::statistics::{interval, kl_and_flips, mean, mean_or_zero};
use crate::thresholds::OF_ROUNDED;

/// What the experiment with all counterfactuals observed, and which subject is which.
pub(crate) struct Proof {
    pub(crate) observed: Observed,
    /// The format that intrinsic sizes are computed in.
    pub(crate) wide: DType,
    /// What the reference is.
    of: Architecture,
    prompts: usize,
    common: Common,
    factors: Vec<FactorRuns>,
    /// Everything restored in the arm.
    everything: usize,
    /// Some tensors of a factor that is of several kinds, alone, in the wide format.
    parts: Vec<PartRun>,
    /// Sets of factors that may cancel out, each with the subject that has all of them injected, in
    /// the wide format.
    sets: Vec<(Vec<usize>, usize)>,
    /// The arm with every position shifted.
    shifted: Option<usize>,
}

/// Subjects that stand for both arms.
struct Common {
    /// The reference's stored weights by Hugging Face's arithmetic in the wide format.
    truth: usize,
    wide_a: usize,
    wide_b: usize,
    /// The reference with what both arms share set right.
    mended: Option<usize>,
}

/// The runs of one factor.
struct FactorRuns {
    restored: usize,
    injected: usize,
    /// Not run where it is the only factor.
    wide_restored: Option<usize>,
    wide_injected: usize,
}

/// The run of some tensors of a factor.
struct PartRun {
    factor: usize,
    /// Their class.
    class: String,
    subject: usize,
}

/// What a proof is to run in the wide format.
#[derive(Clone, Copy)]
pub(crate) struct Wide<'s> {
    pub(crate) format: DType,
    /// Sets of factors, by index, that may cancel out.
    pub(crate) sets: &'s [Vec<usize>],
    /// Whether the arms share what the truth has not: that is set right in the reference, too.
    pub(crate) shared: bool,
}

/// Index of the reference among the subjects.
const A: usize = 0;
/// Index of the arm that is explained.
const B: usize = 1;

/// Builds the list of subjects.
struct SubjectList<'p, 'a> {
    subjects: Vec<Subject<'a>>,
    plan: &'p Plan<'a>,
    wide: DType,
}

impl<'a> SubjectList<'_, 'a> {
    fn add(&mut self, name: String, made: Made<'a>, semantics: Semantics, against: &[usize]) -> usize {
        let watch = Watch::Logits;
        self.subjects.push(Subject {
            name,
            made,
            compute: None,
            semantics,
            against: against.to_vec(),
            watch,
        });
        self.subjects.len() - 1
    }

    /// An arm with `take` of the other one.
    fn mix(
        &mut self,
        name: &str,
        base: usize,
        take: &Take,
        semantics: Semantics,
        against: &[usize],
    ) -> usize {
        let made = Made::Mix(Mix { base, donor: 1 - base, take: take.clone() });
        self.add(name.to_owned(), made, semantics, against)
    }

    /// The subject, computed in the wide format.
    fn widen(&mut self, index: usize) -> usize {
        self.subjects[index].compute = Some(self.wide);
        index
    }

    fn semantics(&self, arm: usize) -> &Semantics {
        &self.plan.arms[arm].semantics
    }

    fn common(&mut self, shared: bool) -> Common {
        let a = &self.plan.arms[A];
        // The reference's checkpoint as it is stored, loaded wide, by Hugging Face's arithmetic.
        let load = if self.wide == DType::F64 { LoadDType::F64 } else { LoadDType::F32 };
        let whole = Arm::new(a.arm.checkpoint(), Recipe::load(load));
        let mut plain = a.semantics.base;
        plain.variants = Variants::default();
        let truth = self.add("truth".to_owned(), Made::Arm(whole), plain.into(), &[]);
        self.subjects[A].against = vec![truth];
        self.subjects[B].against = vec![A, truth];
        let [own, other] = [A, B].map(|arm| self.semantics(arm).clone());
        let wide_a = self.mix("a, wide", A, &Take::default(), own, &[truth]);
        let wide_b = self.mix("b, wide", B, &Take::default(), other, &[wide_a, truth]);
        let mended = shared.then(|| {
            let take = Take { buffers: true, ..Take::default() };
            let mix = Mix { base: A, donor: truth, take };
            self.add("a, wide, mended".to_owned(), Made::Mix(mix), plain.into(), &[truth])
        });
        for index in [wide_a, wide_b].into_iter().chain(mended) {
            self.widen(index);
        }
        Common { truth, wide_a, wide_b, mended }
    }

    /// Both exchanges of factor `i`, in the arms' own formats and in the wide one; alone it is all
    /// that differs.
    fn factor(&mut self, i: usize, factor: &Factor, alone: bool, common: &Common) -> FactorRuns {
        let back = factor.exchange(self.semantics(B), self.semantics(A));
        let over = factor.exchange(self.semantics(A), self.semantics(B));
        let restored = self.mix(&format!("restored {i}"), B, &factor.take, back.clone(), &[A, B]);
        let injected = self.mix(&injected(i), A, &factor.take, over.clone(), &[A, B]);
        self.subjects[injected].watch = Watch::Introduced;
        if alone {
            // With the only factor exchanged, either is the other.
            return FactorRuns { restored, injected, wide_restored: None, wide_injected: common.wide_b };
        }
        let index = self.mix(&format!("wide, restored {i}"), B, &factor.take, back, &[common.wide_a]);
        let wide_restored = Some(self.widen(index));
        let index = self.mix(&format!("wide, injected {i}"), A, &factor.take, over, &[common.wide_a]);
        FactorRuns { restored, injected, wide_restored, wide_injected: self.widen(index) }
    }

    /// The tensors of each factor by kind, each alone.
    fn parts(&mut self, factors: &[Factor], common: &Common) -> Vec<PartRun> {
        let mut parts = Vec::new();
        for (i, factor) in factors.iter().enumerate() {
            for (class, parameters) in kinds(factor) {
                let take = Take { parameters, ..Take::default() };
                let name = format!("wide, injected {i} in part {}", parts.len());
                let index = self.mix(&name, A, &take, self.semantics(A).clone(), &[common.wide_a]);
                parts.push(PartRun { factor: i, class, subject: self.widen(index) });
            }
        }
        parts
    }

    /// Some factors injected together.
    fn set(&mut self, number: usize, set: &[usize], factors: &[Factor], common: &Common) -> usize {
        let members: Vec<&Factor> = set.iter().map(|&i| &factors[i]).collect();
        let (take, semantics) = together(&members, self.semantics(A), self.semantics(B));
        let index = self.mix(&format!("wide, injected set {number}"), A, &take, semantics, &[common.wide_a]);
        self.widen(index)
    }

    /// The arm with every position shifted, which shows whether only distances matter. Positions of
    /// its own can't be shifted.
    fn shifted(&mut self, common: &Common) -> Option<usize> {
        self.semantics(B).base.variants.positions.is_none().then(|| {
            let shift: Departure = "positions=+64".parse().expect("it is a variant");
            let semantics = self.semantics(B).clone().with(shift);
            let index = self.mix("b, wide, shifted", B, &Take::default(), semantics, &[common.wide_b]);
            self.widen(index)
        })
    }
}

/// The name of the reference with factor `i` of the arm.
fn injected(i: usize) -> String {
    format!("injected {i}")
}

/// The format that intrinsic sizes are computed in: one that the arms' roundings are small beside.
pub(crate) fn wide(arms: &[NamedArm]) -> DType {
    let wide = |arm: &NamedArm| matches!(arm.arm.dtype(), DType::F32 | DType::F64);
    if arms.iter().any(wide) { DType::F64 } else { DType::F32 }
}

/// The tensors of a factor by kind, if they are of several: what is done to two kinds may cancel
/// out. Of many, some.
fn kinds(factor: &Factor) -> Vec<(String, BTreeSet<String>)> {
    const MOST: usize = 4;
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in &factor.take.parameters {
        kinds.entry(class(name)).or_default().insert(name.clone());
    }
    if !factor.cause.is_defect() || kinds.len() < 2 {
        return Vec::new();
    }
    kinds.into_iter().take(MOST).collect()
}

/// What is exchanged with all of these factors, and `base` with their choices as `donor` has them.
fn together(factors: &[&Factor], base: &Semantics, donor: &Semantics) -> (Take, Semantics) {
    let take = factors.iter().fold(Take::default(), |take, factor| take.and(&factor.take));
    (take, factors.iter().fold(base.clone(), |semantics, factor| factor.exchange(&semantics, donor)))
}

impl Proof {
    /// Runs every factor both ways, in the arms' own formats and in a wide one.
    pub(crate) fn run(
        plan: &Plan,
        factors: &[Factor],
        wide: Wide,
        keep: &mut dyn Keep,
        progress: impl FnMut(Step),
    ) -> Result<Proof, CompareError> {
        let Experiment { subjects, prompts, sites, device, longest_watched, .. } = plan.experiment();
        let mut list = SubjectList { subjects, plan, wide: wide.format };
        for arm in [A, B] {
            list.subjects[arm].watch = Watch::Logits;
        }
        let common = list.common(wide.shared);
        let alone = factors.len() == 1;
        let runs: Vec<FactorRuns> =
            factors.iter().enumerate().map(|(i, factor)| list.factor(i, factor, alone, &common)).collect();
        let everything = match &runs[..] {
            [only] => only.restored,
            _ => {
                let all: Vec<&Factor> = factors.iter().collect();
                let (take, semantics) = together(&all, list.semantics(B), list.semantics(A));
                list.mix("everything restored", B, &take, semantics, &[A])
            }
        };
        let parts = list.parts(factors, &common);
        let sets = wide.sets.iter().enumerate();
        let sets = sets.map(|(n, set)| (set.clone(), list.set(n, set, factors, &common))).collect();
        let shifted = list.shifted(&common);
        let experiment = Experiment {
            subjects: list.subjects,
            prompts,
            sites,
            device,
            describe: false,
            longest_watched,
            keep: false,
        };
        Ok(Proof {
            observed: observe_keeping(&experiment, keep, progress)?,
            wide: wide.format,
            of: plan.arms[A].arm.architecture().clone(),
            prompts: plan.prompts.len(),
            common,
            factors: runs,
            everything,
            parts,
            sets,
            shifted,
        })
    }

    fn logits(&self, subject: usize, with: usize) -> impl Iterator<Item = &LogitDivergence> {
        self.observed.logits_of(subject, with)
    }

    /// KL at every position of every prompt.
    fn kl(&self, subject: usize, with: usize) -> Vec<f64> {
        self.logits(subject, with).flat_map(|l| l.by_position.iter().map(|p| p.kl)).collect()
    }

    /// KL of all factors together in the wide format, by prompt and position.
    pub(crate) fn intrinsic_by_position(&self, prompt: usize) -> Vec<f64> {
        let found = self.logits(self.common.wide_b, self.common.wide_a).filter(|l| l.prompt == prompt);
        found.flat_map(|l| l.by_position.iter().map(|p| p.kl)).collect()
    }

    /// KL of one factor alone in the wide format: the mean, and positions at which the most likely
    /// token flips.
    pub(crate) fn intrinsic(&self, factor: usize) -> (f64, [usize; 2]) {
        let alone = self.factors[factor].wide_injected;
        kl_and_flips(self.logits(alone, self.common.wide_a))
    }

    /// What the part of a factor that does most does alone in the wide format; 0 if it has none.
    pub(crate) fn most_of_parts(&self, factor: usize) -> f64 {
        let of = self.parts.iter().filter(|part| part.factor == factor);
        of.map(|part| mean(&self.kl(part.subject, self.common.wide_a))).fold(0.0, f64::max)
    }

    /// Sets of factors that were injected together, and the mean KL of each in the wide format.
    pub(crate) fn sets(&self) -> Vec<(Vec<usize>, f64)> {
        self.sets
            .iter()
            .map(|(set, subject)| (set.clone(), mean(&self.kl(*subject, self.common.wide_a))))
            .collect()
    }

    /// Mean KL of the arm to the reference in the wide format.
    pub(crate) fn whole(&self) -> f64 {
        mean(&self.kl(self.common.wide_b, self.common.wide_a))
    }

    /// Share of the KL that goes away when one factor is restored, with its interval.
    ///
    /// With a single factor it is measured in the arms' own format. With several, rounding
    /// saturates the logits of each of them alone, so that shares mean something in the wide format
    /// only.
    pub(crate) fn share(&self, factor: usize) -> (f64, [f64; 2]) {
        let (with, without) = if self.factors.len() == 1 {
            (self.kl(B, A), self.kl(self.factors[factor].restored, A))
        } else {
            (
                self.kl(self.common.wide_b, self.common.wide_a),
                self.kl(self.factors[factor].wide_restored.unwrap_or(self.common.wide_b), self.common.wide_a),
            )
        };
        let noise = if self.factors.len() == 1 { 0.0 } else { self.noise() * with.len() as f64 };
        let share = |sample: &[usize]| {
            let sum = |kl: &[f64]| sample.iter().map(|&i| kl[i]).sum::<f64>();
            let whole = sum(&with);
            // Where nothing diverges but by rounding there is nothing to have a share of.
            (whole > noise || whole.is_nan()).then(|| 1.0 - sum(&without) / whole)
        };
        let all: Vec<usize> = (0..with.len()).collect();
        let found = share(&all).unwrap_or(f64::NAN);
        (found, interval(with.len(), |sample| share(sample).unwrap_or(found)))
    }

    /// KL in nats that rounding alone makes in the wide format: some thousands of its steps,
    /// relative to a logit, squared.
    pub(crate) fn noise(&self) -> f64 {
        let step = if self.wide == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        (100.0 * step).powi(2)
    }

    /// Whether restoring the factor changes a bit of the arm's logits, or injecting it one of the
    /// reference's.
    pub(crate) fn acts(&self, factor: usize) -> bool {
        self.changes(self.factors[factor].restored, B) || self.changes(self.factors[factor].injected, A)
    }

    /// Whether restoring it makes the arm the reference, and injecting it makes the reference the
    /// arm, bit for bit.
    pub(crate) fn bit_equal(&self, factor: usize) -> [bool; 2] {
        [!self.changes(self.factors[factor].restored, A), !self.changes(self.factors[factor].injected, B)]
    }

    /// Whether restoring it changes the arm, and injecting it changes the reference.
    pub(crate) fn both_ways(&self, factor: usize) -> [bool; 2] {
        [self.changes(self.factors[factor].restored, B), self.changes(self.factors[factor].injected, A)]
    }

    /// Whether restoring all factors makes the arm the reference, bit for bit. If not, something
    /// differs that is no factor.
    pub(crate) fn complete(&self) -> bool {
        !self.changes(self.everything, A)
    }

    fn changes(&self, subject: usize, with: usize) -> bool {
        self.logits(subject, with).any(|l| l.equal < 1.0)
    }

    /// The sites at which a factor alone introduces something, in forward order; prompts in order.
    pub(crate) fn sites(&self, factor: usize) -> Vec<&str> {
        let name = injected(factor);
        let mut sites: Vec<_> =
            self.observed.sites.iter().filter(|s| s.arm == name && s.introduced.equal < 1.0).collect();
        sites.sort_by_key(|s| self.of.site(&s.site).ok());
        sites.dedup_by_key(|s| s.site.as_str());
        sites.into_iter().map(|s| s.site.as_str()).collect()
    }

    /// KL(truth ‖ a) and KL(truth ‖ b), at every position of every prompt.
    pub(crate) fn truth(&self) -> [Vec<f64>; 2] {
        [self.kl(A, self.common.truth), self.kl(B, self.common.truth)]
    }

    /// Mean KL(truth ‖ arm) of both arms in the wide format, and of the reference with what they
    /// share set right.
    pub(crate) fn intrinsic_truth(&self) -> ([f64; 2], Option<f64>) {
        let of = |subject: usize| mean(&self.kl(subject, self.common.truth));
        ([of(self.common.wide_a), of(self.common.wide_b)], self.common.mended.map(of))
    }

    /// KL of the arm against itself with all positions shifted.
    pub(crate) fn shift(&self) -> Option<f64> {
        Some(mean_or_zero(&self.kl(self.shifted?, self.common.wide_b)))
    }

    /// Every counterfactual that was run; of sets of factors those that cancel out.
    pub(crate) fn counterfactuals(
        &self,
        factors: &[Factor],
        rewritings: &[(String, &[usize])],
        own: &str,
    ) -> Vec<Counterfactual> {
        let wide = self.wide.to_string();
        let everything = "everything".to_owned();
        let mut runs: Vec<(String, Direction, usize, usize, &str)> = vec![
            (everything.clone(), Direction::Neither, B, A, own),
            (everything, Direction::Restored, self.everything, A, own),
        ];
        for (i, factor) in factors.iter().enumerate() {
            let subject = || factor.subject();
            runs.push((subject(), Direction::Restored, self.factors[i].restored, A, own));
            runs.push((subject(), Direction::Injected, self.factors[i].injected, B, own));
            if let Some(restored) = self.factors[i].wide_restored {
                runs.push((subject(), Direction::Restored, restored, self.common.wide_a, &wide));
                runs.push((
                    subject(),
                    Direction::Injected,
                    self.factors[i].wide_injected,
                    self.common.wide_a,
                    &wide,
                ));
            }
        }
        for PartRun { factor, class, subject } in &self.parts {
            // Beside what the whole does, only where that is little.
            if self.intrinsic(*factor).0 < OF_ROUNDED * self.most_of_parts(*factor) {
                runs.push((class.clone(), Direction::Injected, *subject, self.common.wide_a, wide.as_str()));
            }
        }
        for (name, members) in rewritings {
            let found = self.sets.iter().find(|(set, _)| set == members);
            runs.extend(found.map(|(_, subject)| {
                (name.clone(), Direction::Injected, *subject, self.common.wide_a, wide.as_str())
            }));
        }
        runs.push((
            "everything".to_owned(),
            Direction::Neither,
            self.common.wide_b,
            self.common.wide_a,
            &wide,
        ));
        let mut all = Vec::new();
        for prompt in 0..self.prompts {
            for (factor, direction, subject, with, compute) in &runs {
                all.extend(self.logits(*subject, *with).filter(|l| l.prompt == prompt).map(|l| {
                    Counterfactual {
                        factor: factor.clone(),
                        direction: *direction,
                        prompt,
                        compute: (*compute).to_owned(),
                        equal: l.equal,
                        bit_equal: l.equal == 1.0,
                        kl: l.kl,
                        max_abs: l.max_abs,
                    }
                }));
            }
        }
        all
    }
}
