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

use crate::across::class;
use crate::cancel::{OF_ROUNDED, Rewriting, candidates};
use crate::factor::Factor;
use crate::stats::{interval, mean};

/// What the experiment with all counterfactuals observed, and which subject is which.
pub(crate) struct Proof {
    pub(crate) observed: Observed,
    /// The format that intrinsic sizes are computed in.
    pub(crate) wide: DType,
    /// What the reference is.
    of: Architecture,
    prompts: usize,
    truth: usize,
    restored: Vec<usize>,
    injected: Vec<usize>,
    everything: usize,
    wide_a: usize,
    wide_b: usize,
    wide_restored: Vec<usize>,
    wide_injected: Vec<usize>,
    /// Some tensors of a factor that is of several kinds, alone, in the wide format: the factor, their kind, and the subject.
    parts: Vec<(usize, String, usize)>,
    /// Sets of factors that may cancel out, each with the subject that has all of them injected, in the wide format.
    sets: Vec<(Vec<usize>, usize)>,
    shifted: Option<usize>,
    mended: Option<usize>,
}

/// Index of the reference among the subjects.
const A: usize = 0;
/// Index of the arm that is explained.
const B: usize = 1;

/// Builds the list of subjects.
struct Cast<'a>(Vec<Subject<'a>>);

impl<'a> Cast<'a> {
    fn add(&mut self, name: String, made: Made<'a>, semantics: Semantics, against: &[usize]) -> usize {
        let watch = Watch::Logits;
        self.0.push(Subject { name, made, compute: None, semantics, against: against.to_vec(), watch });
        self.0.len() - 1
    }

    fn mix(
        &mut self,
        name: &str,
        base: usize,
        take: &Take,
        semantics: Semantics,
        against: &[usize],
    ) -> usize {
        let mix = Mix { base, donor: 1 - base, take: take.clone() };
        self.add(name.to_owned(), Made::Mix(mix), semantics, against)
    }

    fn widen(&mut self, index: usize, dtype: DType) -> usize {
        self.0[index].compute = Some(dtype);
        index
    }
}

/// The format that intrinsic sizes are computed in: one that the arms' roundings are small beside.
pub(crate) fn wide(arms: &[NamedArm]) -> DType {
    let wide = |arm: &NamedArm| matches!(arm.arm.dtype(), DType::F32 | DType::F64);
    if arms.iter().any(wide) { DType::F64 } else { DType::F32 }
}

/// The tensors of a factor by kind, if they are of several: what is done to two kinds may cancel out. Of many, some.
fn kinds(factor: &Factor) -> Vec<(String, BTreeSet<String>)> {
    const MOST: usize = 4;
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in &factor.take.parameters {
        kinds.entry(class(name)).or_default().insert(name.clone());
    }
    if !factor.fault.is_defect() || kinds.len() < 2 {
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
    /// Runs every factor both ways, in the arms' own formats and in a wide one. Where the arms share what the truth has not,
    /// that is set right in the reference, too.
    pub(crate) fn run(
        plan: &Plan,
        factors: &[Factor],
        wide: DType,
        shared: bool,
        keep: &mut dyn Keep,
        progress: impl FnMut(Step),
    ) -> Result<Proof, CompareError> {
        let (a, b) = (&plan.arms[A], &plan.arms[B]);
        let Experiment { subjects, prompts, sites, device, longest_watched, .. } = plan.experiment();
        let mut cast = Cast(subjects);
        cast.0[B].watch = Watch::Logits;

        // The reference's checkpoint as it is stored, loaded wide, by Hugging Face's arithmetic.
        let load = if wide == DType::F64 { LoadDType::F64 } else { LoadDType::F32 };
        let whole = Arm::new(a.arm.checkpoint(), Recipe::load(load));
        let mut plain = a.semantics.base;
        plain.variants = Variants::default();
        let truth = cast.add("truth".to_owned(), Made::Arm(whole), plain.into(), &[]);
        cast.0[A].against = vec![truth];
        cast.0[B].against = vec![A, truth];

        let wide_a = cast.mix("a, wide", A, &Take::default(), a.semantics.clone(), &[truth]);
        let wide_b = cast.mix("b, wide", B, &Take::default(), b.semantics.clone(), &[wide_a, truth]);
        let mended = shared.then(|| {
            let take = Take { buffers: true, ..Take::default() };
            let mix = Mix { base: A, donor: truth, take };
            cast.add("a, wide, mended".to_owned(), Made::Mix(mix), plain.into(), &[truth])
        });
        for index in [wide_a, wide_b].into_iter().chain(mended) {
            cast.widen(index, wide);
        }
        let (mut restored, mut injected) = (Vec::new(), Vec::new());
        let (mut wide_restored, mut wide_injected) = (Vec::new(), Vec::new());
        for (i, factor) in factors.iter().enumerate() {
            let back = factor.exchange(&b.semantics, &a.semantics);
            let over = factor.exchange(&a.semantics, &b.semantics);
            let name = |what: &str| format!("{what} {i}");
            restored.push(cast.mix(&name("restored"), B, &factor.take, back.clone(), &[A, B]));
            injected.push(cast.mix(&name("injected"), A, &factor.take, over.clone(), &[A, B]));
            if let Some(subject) = cast.0.last_mut() {
                subject.watch = Watch::Introduced;
            }
            if factors.len() == 1 {
                // With the only factor exchanged, either is the other.
                wide_injected.push(wide_b);
                continue;
            }
            let index = cast.mix(&name("wide, restored"), B, &factor.take, back, &[wide_a]);
            wide_restored.push(cast.widen(index, wide));
            let index = cast.mix(&name("wide, injected"), A, &factor.take, over, &[wide_a]);
            wide_injected.push(cast.widen(index, wide));
        }
        let all: Vec<&Factor> = factors.iter().collect();
        let (take, semantics) = together(&all, &b.semantics, &a.semantics);
        let everything = match restored[..] {
            [only] => only,
            _ => cast.mix("everything restored", B, &take, semantics, &[A]),
        };
        let mut parts = Vec::new();
        for (i, factor) in factors.iter().enumerate() {
            for (kind, parameters) in kinds(factor) {
                let take = Take { parameters, ..Take::default() };
                let name = format!("wide, injected {i} in part {}", parts.len());
                let index = cast.mix(&name, A, &take, a.semantics.clone(), &[wide_a]);
                parts.push((i, kind, cast.widen(index, wide)));
            }
        }
        let sets = candidates(factors).into_iter().map(|set| {
            let members: Vec<&Factor> = set.iter().map(|&i| &factors[i]).collect();
            let (take, semantics) = together(&members, &a.semantics, &b.semantics);
            let index = cast.mix(&format!("wide, injected {set:?}"), A, &take, semantics, &[wide_a]);
            (set, cast.widen(index, wide))
        });
        let sets = sets.collect();

        // Whether only distances matter: the arm with every position shifted. Positions of its own can't be shifted.
        let moved = b.semantics.base.variants.positions.is_none();
        let shifted = moved.then(|| {
            let shift: Departure = "positions=+64".parse().expect("it is a variant");
            let semantics = b.semantics.clone().with(shift);
            let index = cast.mix("b, wide, shifted", B, &Take::default(), semantics, &[wide_b]);
            cast.widen(index, wide)
        });

        let experiment = Experiment {
            subjects: cast.0,
            prompts,
            sites,
            device,
            describe: false,
            longest_watched,
            keep: false,
        };
        let observed = observe_keeping(&experiment, keep, progress)?;
        Ok(Proof {
            observed,
            wide,
            of: plan.arms[A].arm.architecture().clone(),
            prompts: plan.prompts.len(),
            truth,
            restored,
            injected,
            everything,
            wide_a,
            wide_b,
            wide_restored,
            wide_injected,
            parts,
            sets,
            shifted,
            mended,
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
        let found = self.logits(self.wide_b, self.wide_a).filter(|l| l.prompt == prompt);
        found.flat_map(|l| l.by_position.iter().map(|p| p.kl)).collect()
    }

    /// KL of one factor alone in the wide format: the mean, and positions at which the most likely token flips.
    pub(crate) fn intrinsic(&self, factor: usize) -> (f64, [usize; 2]) {
        let alone = self.wide_injected[factor];
        let positions: Vec<_> = self.logits(alone, self.wide_a).flat_map(|l| &l.by_position).collect();
        let flips = positions.iter().filter(|p| p.top1[0] != p.top1[1]).count();
        let kl = positions.iter().map(|p| p.kl).sum::<f64>() / positions.len().max(1) as f64;
        (kl, [flips, positions.len()])
    }

    /// What the part of a factor that does most does alone in the wide format; 0 if it has none.
    pub(crate) fn most_of_parts(&self, factor: usize) -> f64 {
        let of = self.parts.iter().filter(|(i, ..)| *i == factor);
        of.map(|(.., subject)| mean(&self.kl(*subject, self.wide_a))).fold(0.0, f64::max)
    }

    /// Sets of factors that were injected together, and the mean KL of each in the wide format.
    pub(crate) fn sets(&self) -> Vec<(Vec<usize>, f64)> {
        self.sets.iter().map(|(set, subject)| (set.clone(), mean(&self.kl(*subject, self.wide_a)))).collect()
    }

    /// Mean KL of the arm to the reference in the wide format.
    pub(crate) fn whole(&self) -> f64 {
        mean(&self.kl(self.wide_b, self.wide_a))
    }

    /// Share of the KL that goes away when one factor is restored, with its interval.
    ///
    /// With a single factor it is measured in the arms' own format. With several, rounding saturates the logits of
    /// each of them alone, so that shares mean something in the wide format only.
    pub(crate) fn share(&self, factor: usize) -> (f64, [f64; 2]) {
        let (with, without) = if self.restored.len() == 1 {
            (self.kl(B, A), self.kl(self.restored[factor], A))
        } else {
            (self.kl(self.wide_b, self.wide_a), self.kl(self.wide_restored[factor], self.wide_a))
        };
        let noise = if self.restored.len() == 1 { 0.0 } else { self.noise() * with.len() as f64 };
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

    /// KL in nats that rounding alone makes in the wide format: some thousands of its steps, relative to a logit, squared.
    pub(crate) fn noise(&self) -> f64 {
        let step = if self.wide == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
        (100.0 * step).powi(2)
    }

    /// Whether restoring the factor changes a bit of the arm's logits, or injecting it one of the reference's.
    pub(crate) fn acts(&self, factor: usize) -> bool {
        self.changes(self.restored[factor], B) || self.changes(self.injected[factor], A)
    }

    /// Whether restoring it makes the arm the reference, and injecting it makes the reference the arm, bit for bit.
    pub(crate) fn bit_equal(&self, factor: usize) -> [bool; 2] {
        [!self.changes(self.restored[factor], A), !self.changes(self.injected[factor], B)]
    }

    /// Whether restoring it changes the arm, and injecting it changes the reference.
    pub(crate) fn both_ways(&self, factor: usize) -> [bool; 2] {
        [self.changes(self.restored[factor], B), self.changes(self.injected[factor], A)]
    }

    /// Whether restoring all factors makes the arm the reference, bit for bit. If not, something differs that is no
    /// factor.
    pub(crate) fn complete(&self) -> bool {
        !self.changes(self.everything, A)
    }

    fn changes(&self, subject: usize, with: usize) -> bool {
        self.logits(subject, with).any(|l| l.equal < 1.0)
    }

    /// The sites at which a factor alone introduces something, in forward order; prompts in order.
    pub(crate) fn sites(&self, factor: usize) -> Vec<&str> {
        let name = format!("injected {factor}");
        let mut sites: Vec<_> =
            self.observed.sites.iter().filter(|s| s.arm == name && s.introduced.equal < 1.0).collect();
        sites.sort_by_key(|s| self.of.site(&s.site).ok());
        sites.dedup_by_key(|s| s.site.as_str());
        sites.into_iter().map(|s| s.site.as_str()).collect()
    }

    /// KL(truth ‖ a) and KL(truth ‖ b), at every position of every prompt.
    pub(crate) fn truth(&self) -> [Vec<f64>; 2] {
        [self.kl(A, self.truth), self.kl(B, self.truth)]
    }

    /// Mean KL(truth ‖ arm) of both arms in the wide format, and of the reference with what they share set right.
    pub(crate) fn intrinsic_truth(&self) -> ([f64; 2], Option<f64>) {
        let of = |subject: usize| mean(&self.kl(subject, self.truth));
        ([of(self.wide_a), of(self.wide_b)], self.mended.map(of))
    }

    /// KL of the arm against itself with all positions shifted.
    pub(crate) fn shift(&self) -> Option<f64> {
        let kl = self.kl(self.shifted?, self.wide_b);
        Some(kl.iter().sum::<f64>() / kl.len().max(1) as f64)
    }

    /// Every counterfactual that was run; of sets of factors those that cancel out.
    pub(crate) fn counterfactuals(
        &self,
        factors: &[Factor],
        rewritings: &[Rewriting],
        own: &str,
    ) -> Vec<Counterfactual> {
        let wide = self.wide.to_string();
        let everything = "everything".to_owned();
        let mut runs: Vec<(String, Direction, usize, usize, &str)> = vec![
            (everything.clone(), Direction::Neither, B, A, own),
            (everything, Direction::Restored, self.everything, A, own),
        ];
        for (i, factor) in factors.iter().enumerate() {
            let subject = || factor.subject.clone();
            runs.push((subject(), Direction::Restored, self.restored[i], A, own));
            runs.push((subject(), Direction::Injected, self.injected[i], B, own));
            if let Some(&restored) = self.wide_restored.get(i) {
                runs.push((subject(), Direction::Restored, restored, self.wide_a, &wide));
                runs.push((subject(), Direction::Injected, self.wide_injected[i], self.wide_a, &wide));
            }
        }
        for (i, kind, subject) in &self.parts {
            // Beside what the whole does, only where that is little.
            if self.intrinsic(*i).0 < OF_ROUNDED * self.most_of_parts(*i) {
                runs.push((kind.clone(), Direction::Injected, *subject, self.wide_a, wide.as_str()));
            }
        }
        for rewriting in rewritings {
            let found = self.sets.iter().find(|(set, _)| *set == rewriting.members);
            runs.extend(found.map(|(_, subject)| {
                (rewriting.subject.clone(), Direction::Injected, *subject, self.wide_a, wide.as_str())
            }));
        }
        runs.push(("everything".to_owned(), Direction::Neither, self.wide_b, self.wide_a, &wide));
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
