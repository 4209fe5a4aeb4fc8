//! What can be wrong with the arrays that are to be compared.

use ulpscope_floats::DType;

/// Why two arrays cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// The arrays do not pair up.
    #[error("the arrays differ in length: a has {a} elements, b has {b}; compare tensors of one shape")]
    LengthMismatch {
        /// Elements of the first array.
        a: usize,
        /// Elements of the second array.
        b: usize,
    },
    /// The elements do not form the given number of rows, or rows of the given width.
    #[error("{len} elements do not divide into {parts} {what}; check the tensor's shape")]
    Uneven {
        /// Elements of each array.
        len: usize,
        /// How many rows, or how many columns, were asked for.
        parts: usize,
        /// What was counted: `"rows"`, or `"logits per row"`.
        what: &'static str,
    },
    /// Steps between representable numbers are counted within one format.
    #[error("ulps are counted within one format, but a is {a} and b is {b}; cast one of them first")]
    DTypeMismatch {
        /// Format of the first array.
        a: DType,
        /// Format of the second array.
        b: DType,
    },
}
