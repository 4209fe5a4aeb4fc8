//! Why there is no explanation.

use ulpscope_compare::CompareError;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// An explanation is of one arm against another.
    #[error("an explanation takes two arms, {0} were given")]
    Arms(usize),
    /// The arms could not be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}
