//! Why a comparison could not be made.

use ulpscope_weights::WeightsError;

/// Why a comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Fewer than two arms.
    #[error("a comparison needs at least two arms, {0} given")]
    TooFewArms(usize),
    /// Two arms of the same name.
    #[error("two arms are called `{0}`; give each its own name")]
    DuplicateArm(String),
    /// No prompts.
    #[error("no prompt was given")]
    NoPrompt,
    /// A prompt without tokens.
    #[error("prompt {index} has no tokens; give a text that is not empty, or token ids")]
    EmptyPrompt {
        /// Index of the prompt.
        index: usize,
    },
    /// A prompt longer than a model's maximum.
    #[error("prompt {index} has {tokens} tokens, but `{arm}` takes at most {most} (max_position_embeddings)")]
    PromptTooLong {
        /// Index of the prompt.
        index: usize,
        /// Its length.
        tokens: usize,
        /// The arm.
        arm: String,
        /// Its maximum.
        most: usize,
    },
    /// A token id that a model does not have.
    #[error("prompt {index} has token id {id}, but the vocabulary of `{arm}` ends at {last}")]
    UnknownToken {
        /// Index of the prompt.
        index: usize,
        /// The id.
        id: u32,
        /// The arm.
        arm: String,
        /// The last id there is.
        last: usize,
    },
    /// Two models that have no common sites to compare.
    #[error("`{arm}` can't be compared with `{reference}`: {field} is {theirs} against {ours}")]
    Shape {
        /// The reference arm.
        reference: String,
        /// The other arm.
        arm: String,
        /// The field of config.json.
        field: &'static str,
        /// The reference's value.
        ours: usize,
        /// The other's value.
        theirs: usize,
    },
    /// A checkpoint could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
