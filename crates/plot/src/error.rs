//! What can go wrong with a picture.

/// Why a picture was not made. What a record merely lacks is not an error: the picture says it.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// There is no second arm, hence no divergence.
    #[error("the run has {arms} arm and a comparison needs two: nothing to draw")]
    OneArm {
        /// Number of arms in the record.
        arms: usize,
    },
    /// The prompt asked for is not in the record.
    #[error("prompt {prompt} was asked for, but the run has {prompts}, counted from 0")]
    NoPrompt {
        /// The index asked for.
        prompt: usize,
        /// Number of prompts in the record.
        prompts: usize,
    },
    /// The layer asked for is not in the model.
    #[error("layer {layer} was asked for, but the model has {layers}, counted from 0")]
    NoLayer {
        /// The index asked for.
        layer: usize,
        /// Number of layers of the model.
        layers: usize,
    },
    /// The arm asked for is not in the record, or is the reference.
    #[error("arm {arm} cannot be drawn against the reference; those that can: {arms}")]
    NoArm {
        /// The name asked for.
        arm: String,
        /// Names of the arms other than the reference.
        arms: String,
    },
    /// The file could not be written; nothing is left of it.
    #[error("{path}: cannot be written: {source}")]
    Write {
        /// The file or folder.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file's name says no format that can be written.
    #[error("{path}: a picture's name ends in .png or .svg")]
    Ending {
        /// The file.
        path: String,
    },
    /// The drawing library failed.
    #[error("the picture could not be drawn: {0}")]
    Drawing(String),
}

impl PlotError {
    pub(crate) fn drawing(error: impl std::fmt::Display) -> Self {
        Self::Drawing(error.to_string())
    }
}
