//! What to compare.

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_decoder::{Architecture, Semantics};
use ulpscope_floats::DType;
use ulpscope_weights::Arm;

use crate::CompareError;
use crate::subject::Experiment;

/// An arm of a comparison: a recipe applied to a checkpoint, and its arithmetic.
#[derive(Clone)]
pub struct NamedArm<'a> {
    /// Name in tables and records.
    pub name: String,
    /// Recipe and checkpoint.
    pub arm: Arm<'a>,
    /// Semantics of its attention, the order of summation, and where it departs from Hugging Face's
    /// arithmetic.
    pub semantics: Semantics,
}

impl NamedArm<'_> {
    /// Whether it sums in its declared order on this device: f64, and all on devices that are not
    /// ours, is left to the device's own operations.
    pub fn sums_in_order(&self, device: &Device) -> bool {
        self.arm.dtype() != DType::F64 && ulpscope_decoder::owns(device)
    }

    /// How a record describes it, where it runs on this device; without what its recipe did to the
    /// parameters.
    pub fn described(&self, device: &Device) -> ulpscope_record::Arm {
        let accumulation = self.semantics.base.accumulation;
        ulpscope_record::Arm {
            name: self.name.clone(),
            recipe: self.arm.recipe().to_string(),
            attention: self.semantics.base.attention.to_string(),
            dtype: self.arm.dtype().to_string(),
            accumulation: if self.sums_in_order(device) {
                accumulation.to_string()
            } else {
                "device".to_owned()
            },
            variants: self.semantics.departures().map(|d| d.to_string()).collect(),
            model: None,
            conversions: Vec::new(),
        }
    }
}

/// A comparison: every prompt through every arm; the first arm is the reference.
#[derive(Clone)]
pub struct Plan<'a> {
    /// The arms, the reference first.
    pub arms: Vec<NamedArm<'a>>,
    /// Token ids of each prompt.
    pub prompts: Vec<Vec<u32>>,
    /// The sites to report.
    pub sites: Pattern,
    /// The device that computes.
    pub device: Device,
    /// On prompts of more tokens than this, counterfactuals are compared at their logits alone; the
    /// arms' sites are compared always.
    pub longest_watched: usize,
}

impl Plan<'_> {
    /// Checks that the comparison makes sense, before anything is read.
    ///
    /// # Errors
    /// [`CompareError`] says what does not fit.
    pub fn check(&self) -> Result<(), CompareError> {
        check_arms(&self.arms)?;
        let named: Vec<_> = self.arms.iter().map(|a| (a.name.as_str(), a.arm.architecture())).collect();
        check_prompts(&self.prompts, &named)
    }
}

impl Experiment<'_> {
    /// Checks that every prompt can be run through every subject.
    pub(crate) fn check(&self) -> Result<(), CompareError> {
        let of: Vec<_> = (0..self.subjects.len()).map(|i| self.architecture(i)).collect();
        let named: Vec<_> = self.subjects.iter().map(|s| s.name.as_str()).zip(&of).collect();
        check_prompts(&self.prompts, &named)
    }
}

fn check_prompts(prompts: &[Vec<u32>], named: &[(&str, &Architecture)]) -> Result<(), CompareError> {
    if prompts.is_empty() {
        return Err(CompareError::NoPrompt);
    }
    for (index, ids) in prompts.iter().enumerate() {
        if ids.is_empty() {
            return Err(CompareError::EmptyPrompt { index });
        }
        for (name, of) in named {
            let (arm, tokens) = ((*name).to_owned(), ids.len());
            let (most, vocabulary) = (of.max_tokens(), of.vocab);
            if tokens > most {
                return Err(CompareError::PromptTooLong { index, tokens, arm, most });
            }
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(CompareError::UnknownToken { index, id, arm, last: vocabulary - 1 });
            }
        }
    }
    Ok(())
}

/// Checks that the arms have names of their own and models of one shape.
pub(crate) fn check_arms(arms: &[NamedArm]) -> Result<(), CompareError> {
    if arms.len() < 2 {
        return Err(CompareError::TooFewArms(arms.len()));
    }
    for (i, arm) in arms.iter().enumerate() {
        if arms[..i].iter().any(|other| other.name == arm.name) {
            return Err(CompareError::DuplicateArm(arm.name.clone()));
        }
    }
    let reference = arms[0].arm.architecture();
    for other in &arms[1..] {
        let of = other.arm.architecture();
        let error = |field, ours, theirs| {
            let (reference, arm) = (arms[0].name.clone(), other.name.clone());
            Err(CompareError::Shape { reference, arm, field, ours, theirs })
        };
        for ((field, ours), (_, theirs)) in reference.sizes().into_iter().zip(of.sizes()) {
            if ours != theirs {
                return error(field, ours, theirs);
            }
        }
        let blocks = reference.layers.iter().zip(&of.layers);
        if let Some((ours, theirs)) = blocks.map(|(a, b)| (a.nodes(), b.nodes())).find(|(a, b)| a != b) {
            return error("operations of a block", ours.len(), theirs.len());
        }
    }
    Ok(())
}
