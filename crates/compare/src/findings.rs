//! Arms against the first of them: the plain comparison.

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_decoder::Site;
use ulpscope_record::{Arm, Buffer, Coverage, First, LogitDivergence, SiteDivergence, Weights};

use crate::buffers;
use crate::error::CompareError;
use crate::keep::{Keep, observe_keeping};
use crate::lockstep::{Observed, Step, read};
use crate::parts::conversion_record;
use crate::plan::{NamedArm, Plan, check_arms};
use crate::subject::{Experiment, Made, Subject, Watch};

/// What a comparison found: the parts of a record that do not depend on who ran it, when, and how
/// the model was named.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The arms, with what each recipe did to every parameter and buffer.
    pub arms: Vec<Arm>,
    /// How the state dicts compare.
    pub weights: Weights,
    /// How the buffers compare.
    pub buffers: Vec<Buffer>,
    /// Divergence by site.
    pub sites: Vec<SiteDivergence>,
    /// Divergence of the logits.
    pub logits: Vec<LogitDivergence>,
    /// First site at which each arm parts from the reference.
    pub first: Vec<First>,
    /// What was compared, and what was not.
    pub coverage: Coverage,
}

/// Compares state dicts and buffers only; no forward pass.
///
/// # Errors
/// [`CompareError`] if the arms do not fit together or a checkpoint can't be read.
pub fn compare_weights(arms: &[NamedArm], progress: impl FnMut(Step)) -> Result<Findings, CompareError> {
    check_arms(arms)?;
    let plan = Plan {
        arms: arms.to_vec(),
        prompts: Vec::new(),
        sites: Pattern::all(),
        device: Device::default(),
        longest_watched: usize::MAX,
    };
    let observed = read(&plan.experiment(), progress)?;
    Ok(Findings { coverage: Coverage::default(), ..Findings::of(&plan, &observed) })
}

/// Runs a comparison.
///
/// # Errors
/// [`CompareError`] if the plan does not make sense or a checkpoint can't be read.
pub fn compare(plan: &Plan, progress: impl FnMut(Step)) -> Result<Findings, CompareError> {
    compare_keeping(plan, &mut (), progress)
}

/// As [`compare`], group by group of prompts, keeping what is finished. What is found does not
/// depend on that.
///
/// # Errors
/// As [`compare`].
pub fn compare_keeping(
    plan: &Plan,
    keep: &mut dyn Keep,
    progress: impl FnMut(Step),
) -> Result<Findings, CompareError> {
    plan.check()?;
    let observed = observe_keeping(&plan.experiment(), keep, progress)?;
    Ok(Findings::of(plan, &observed))
}

impl<'a> Plan<'a> {
    /// The arms as subjects: each is watched and compared with the first.
    pub fn experiment(&self) -> Experiment<'a> {
        let subject = |(i, arm): (usize, &NamedArm<'a>)| Subject {
            name: arm.name.clone(),
            made: Made::Arm(arm.arm.clone()),
            compute: None,
            semantics: arm.semantics.clone(),
            against: if i == 0 { Vec::new() } else { vec![0] },
            watch: if i == 0 { Watch::Logits } else { Watch::Everything },
        };
        Experiment {
            subjects: self.arms.iter().enumerate().map(subject).collect(),
            prompts: self.prompts.clone(),
            sites: self.sites.clone(),
            device: self.device.clone(),
            describe: true,
            longest_watched: self.longest_watched,
            keep: false,
        }
    }
}

impl Findings {
    /// What was observed of the plan's arms. Subjects that came after them in the experiment are
    /// left out.
    pub fn of(plan: &Plan, observed: &Observed) -> Self {
        let arms = &plan.arms;
        let of_an_arm = |name: &str| arms.iter().any(|arm| arm.name == name);
        let rotary: Vec<_> = arms.iter().map(|arm| arm.arm.rotary()).collect();
        let described = arms.iter().enumerate().map(|(i, arm)| {
            let buffers = rotary[i].1.iter().cloned().map(conversion_record);
            let conversions = observed.conversions[i].iter().cloned().chain(buffers).collect();
            Arm { conversions, ..arm.described(&plan.device) }
        });
        let buffers = arms[1..]
            .iter()
            .zip(&rotary[1..])
            .flat_map(|(arm, (own, _))| buffers::compare(&arm.name, &rotary[0].0, own));
        let first = arms.iter().enumerate().skip(1).flat_map(|(i, arm)| {
            (0..plan.prompts.len()).map(move |prompt| First {
                arm: arm.name.clone(),
                prompt,
                site: observed.first.get(&(i, prompt)).map(Site::to_string),
            })
        });
        let sites: Vec<_> = observed.sites.iter().filter(|s| of_an_arm(&s.arm)).cloned().collect();
        let mut coverage = coverage(plan);
        coverage.compared = sites.len();
        Findings {
            arms: described.collect(),
            weights: observed.weights.clone(),
            buffers: buffers.collect(),
            sites,
            logits: observed
                .logits
                .iter()
                .filter(|l| l.with == 0 && of_an_arm(&l.logits.arm))
                .map(|l| l.logits.clone())
                .collect(),
            first: first.collect(),
            coverage,
        }
    }
}

/// What the plan leaves out: sites that one of two attentions does not have, and sites that the
/// pattern excludes.
fn coverage(plan: &Plan) -> Coverage {
    let mut coverage = Coverage::default();
    let reference = &plan.arms[0];
    let sites_of = |arm: &NamedArm| arm.arm.architecture().sites(arm.semantics.base.attention);
    for arm in &plan.arms[1..] {
        let (ours, theirs) = (sites_of(reference), sites_of(arm));
        let common: Vec<Site> = theirs.iter().copied().filter(|s| ours.contains(s)).collect();
        for (holder, sites) in [(reference, &ours), (arm, &theirs)] {
            let alone = sites.len() - common.len();
            if alone > 0 {
                let (name, attention) = (&holder.name, holder.semantics.base.attention);
                coverage.not_compared.push(format!(
                    "{alone} sites that only `{name}` has, because its attention is {attention}"
                ));
            }
        }
        let excluded = common.iter().filter(|s| !plan.sites.matches(**s)).count();
        if excluded > 0 {
            coverage.not_compared.push(format!(
                "{excluded} sites of `{}` that the pattern `{}` does not match",
                arm.name, plan.sites
            ));
        }
        coverage.sites += common.len() * plan.prompts.len();
    }
    coverage
}
