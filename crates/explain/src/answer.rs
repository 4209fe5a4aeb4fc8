//! From two arms to an explanation.

use std::fmt;

use ulpscope_compare::{Findings, Keep, Plan, Step};
use ulpscope_record::Explanation;

use crate::bisect::bisect;
use crate::conclusion::{Known, conclude};
use crate::elsewhere::elsewhere;
use crate::error::ExplainError;
use crate::factor::{factors, many};
use crate::looked::Looked;
use crate::proof::{Proof, wide};
use crate::truth::shared;

/// What a comparison found, and its explanation.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What a comparison of the two arms finds.
    pub findings: Findings,
    /// Why.
    pub explanation: Explanation,
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

/// Explains how the second arm of a plan comes to differ from the first. Both continue every prompt greedily by `continued`
/// tokens, if they fit in memory.
///
/// # Errors
/// [`ExplainError`] if there are not two arms, or they can't be compared.
pub fn explain(
    plan: &Plan,
    continued: usize,
    progress: impl FnMut(Stage, Step),
) -> Result<Answer, ExplainError> {
    explain_keeping(plan, continued, &mut (), progress)
}

/// As [`explain`], keeping each stage of each group of prompts as it is finished. What is found does not depend on that.
///
/// # Errors
/// As [`explain`].
pub fn explain_keeping(
    plan: &Plan,
    continued: usize,
    keep: &mut dyn Keep,
    mut progress: impl FnMut(Stage, Step),
) -> Result<Answer, ExplainError> {
    if plan.arms.len() != 2 {
        return Err(ExplainError::Arms(plan.arms.len()));
    }
    plan.check()?;
    let looked = Looked::at(plan, continued, keep, |step| progress(Stage::Looking, step))?;
    let (a, b) = (&plan.arms[0], &plan.arms[1]);
    let differing = &looked.observed.differing;
    let wide = wide(&plan.arms);
    let misplaced = elsewhere(a, b, differing);
    let bisected = match many(differing, &misplaced) {
        Some(parts) => Some(bisect(plan, &parts, wide, |step| progress(Stage::Bisecting, step))?),
        None => None,
    };
    let matter = bisected.as_ref().map(|found| &found.record.named[..]);
    let all = factors(a, b, differing, &misplaced, matter);
    let shared = !shared(plan).is_empty();
    let proof = Proof::run(plan, &all, wide, shared, keep, |step| progress(Stage::Proving, step))?;
    let explanation = conclude(Known { plan, looked: &looked, all: &all, proof: &proof, bisected });
    Ok(Answer { findings: looked.findings, explanation })
}
