//! The choices that a model's formulas leave open.

use ulpscope_kernels::Accumulation;

use crate::departure::Variants;
use crate::site::AttentionKind;

/// What is declared about the arithmetic beyond the dtypes, which come with the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Arithmetic {
    /// Semantics of attention.
    pub attention: AttentionKind,
    /// Order of summation in matrix products, on devices whose order we own.
    pub accumulation: Accumulation,
    /// Where it departs from Hugging Face's arithmetic; by default nowhere.
    pub variants: Variants,
}

impl From<AttentionKind> for Arithmetic {
    /// This attention, in the default order.
    fn from(attention: AttentionKind) -> Self {
        Arithmetic { attention, ..Arithmetic::default() }
    }
}
