//! What to compare.

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_llama::{Arithmetic, LlamaConfig};
use ulpscope_weights::Arm;

use crate::CompareError;

/// An arm of a comparison: a recipe applied to a checkpoint, and its arithmetic.
#[derive(Clone)]
pub struct NamedArm<'a> {
    /// Name in tables and records.
    pub name: String,
    /// Recipe and checkpoint.
    pub arm: Arm<'a>,
    /// Semantics of its attention, and the order of summation.
    pub arithmetic: Arithmetic,
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
}

impl Plan<'_> {
    /// Checks that the comparison makes sense, before anything is read.
    ///
    /// # Errors
    /// [`CompareError`] says what does not fit.
    pub fn check(&self) -> Result<(), CompareError> {
        check_arms(&self.arms)?;
        if self.prompts.is_empty() {
            return Err(CompareError::NoPrompt);
        }
        for (index, ids) in self.prompts.iter().enumerate() {
            if ids.is_empty() {
                return Err(CompareError::EmptyPrompt { index });
            }
            for NamedArm { name, arm, .. } in &self.arms {
                let (most, vocabulary) = (arm.config().max_tokens(), arm.config().vocab_size);
                if ids.len() > most {
                    return Err(CompareError::PromptTooLong {
                        index,
                        tokens: ids.len(),
                        arm: name.clone(),
                        most,
                    });
                }
                if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                    return Err(CompareError::UnknownToken {
                        index,
                        id,
                        arm: name.clone(),
                        last: vocabulary - 1,
                    });
                }
            }
        }
        Ok(())
    }
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
    let shape = |c: &LlamaConfig| {
        [
            ("num_hidden_layers", c.num_hidden_layers),
            ("hidden_size", c.hidden_size),
            ("intermediate_size", c.intermediate_size),
            ("num_attention_heads", c.num_attention_heads),
            ("num_key_value_heads", c.num_key_value_heads),
            ("head_dim", c.head_dim),
            ("vocab_size", c.vocab_size),
            ("attention_bias", usize::from(c.attention_bias)),
            ("mlp_bias", usize::from(c.mlp_bias)),
        ]
    };
    let reference = shape(arms[0].arm.config());
    for other in &arms[1..] {
        for ((field, ours), (_, theirs)) in reference.into_iter().zip(shape(other.arm.config())) {
            if ours != theirs {
                let (reference, arm) = (arms[0].name.clone(), other.name.clone());
                return Err(CompareError::Shape { reference, arm, field, ours, theirs });
            }
        }
    }
    Ok(())
}
