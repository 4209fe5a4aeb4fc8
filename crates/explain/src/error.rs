//! Why there is no explanation.

use ulpscope_compare::CompareError;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// An explanation is of one arm against another.
    #[error("an explanation takes two arms, {0} were given")]
    Arms(usize),
    /// A trace that can't be explained.
    #[error("{trace}: {reason}")]
    Trace {
        /// The trace, as it was named.
        trace: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The arms could not be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}
