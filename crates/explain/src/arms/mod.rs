//! From two arms to an explanation.

pub(crate) mod baseline;
pub(crate) mod bisect;
pub(crate) mod cancel;
mod conclusion;
mod continuation;
pub(crate) mod decisions;
pub(crate) mod factor;
mod guards;
pub(crate) mod proof;
pub(crate) mod provenance;
mod truth;

use std::fmt;

use ulpscope_compare::{Findings, Keep, Plan, Step};
use ulpscope_record::Explanation;

use crate::arms::baseline::Baseline;
use crate::arms::bisect::bisect;
use crate::arms::cancel::candidates;
use crate::arms::conclusion::{Inputs, conclude};
use crate::arms::factor::{factors, many};
use crate::arms::proof::{Proof, Wide, wide};
use crate::arms::provenance::elsewhere;
use crate::arms::truth::shared;
use crate::error::ExplainError;

/// What a comparison found, and its explanation.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What a comparison of the two arms finds.
    pub findings: Findings,
    /// Why.
    pub explanation: Explanation,
    /// Token ids of each prompt that was compared: of recordings, without padding and cached
    /// prefixes.
    pub prompts: Vec<Vec<u32>>,
}

/// What an explanation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Both arms and the reference in other orders: where it starts, and how large noise is.
    Looking,
    /// Which of many differing tensors matter.
    Bisecting,
    /// Counterfactuals: what caused it.
    Proving,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::Looking => "looking",
            Stage::Bisecting => "bisecting",
            Stage::Proving => "proving",
        })
    }
}

/// How to explain.
#[derive(Default)]
pub struct Options<'o> {
    /// Tokens by which both arms continue every prompt greedily, if they fit in memory.
    pub continued: usize,
    /// Keeps each stage of each group of prompts as it is finished; what is found does not depend
    /// on it.
    pub keep: Option<&'o mut dyn Keep>,
    /// Is told of every step.
    pub progress: Option<&'o mut dyn FnMut(Stage, Step)>,
}

/// Explains how the second arm of a plan comes to differ from the first.
///
/// # Errors
/// [`ExplainError`] if there are not two arms, or they can't be compared.
pub fn explain(plan: &Plan, options: Options) -> Result<Answer, ExplainError> {
    let Options { continued, keep, progress } = options;
    let (mut forget, mut silent) = ((), |_, _| ());
    let keep = keep.unwrap_or(&mut forget);
    let progress = progress.unwrap_or(&mut silent);
    if plan.arms.len() != 2 {
        return Err(ExplainError::Arms(plan.arms.len()));
    }
    plan.check()?;
    let baseline = Baseline::at(plan, continued, keep, |step| progress(Stage::Looking, step))?;
    let (a, b) = (&plan.arms[0], &plan.arms[1]);
    let differing = &baseline.observed.differing;
    let wide = wide(&plan.arms);
    let misplaced = elsewhere(a, b, differing);
    let bisected = match many(differing, &misplaced) {
        Some(parts) => Some(bisect(plan, &parts, wide, |step| progress(Stage::Bisecting, step))?),
        None => None,
    };
    let matter = bisected.as_ref().map(|found| &found.record.named[..]);
    let all = factors(a, b, differing, &misplaced, matter);
    let shared = !shared(plan).is_empty();
    let sets = candidates(&all);
    let wide = Wide { format: wide, sets: &sets, shared };
    let proof = Proof::run(plan, &all, wide, keep, |step| progress(Stage::Proving, step))?;
    let explanation = conclude(Inputs { plan, baseline: &baseline, all: &all, proof: &proof, bisected });
    Ok(Answer { findings: baseline.findings, explanation, prompts: plan.prompts.clone() })
}
