//! What can be wrong with a call.

use ulpscope_floats::DType;

/// A call that no kernel can carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice has not the number of elements that its shape says.
    #[error("{what} has {got} elements where {expected} are needed: check the shapes")]
    Length {
        /// The argument.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A length that is no whole number of rows.
    #[error("{what} has {got} elements, which is no whole number of rows of {row}: check the shapes")]
    Rows {
        /// The argument.
        what: &'static str,
        /// Elements per row.
        row: usize,
        /// Elements given.
        got: usize,
    },
    /// A dimension of length 0.
    #[error("{what} is 0: a product over nothing has no order of summation")]
    Empty {
        /// The dimension.
        what: &'static str,
    },
    /// A format that the kernels do not compute in.
    #[error("{what} is {dtype}: the kernels take f32, bf16 and f16; use the generic operations for {dtype}")]
    DType {
        /// The argument.
        what: &'static str,
        /// Its format.
        dtype: DType,
    },
    /// Arguments that must share a format do not.
    #[error("{what} is {got} where {expected} is needed: cast it first")]
    Mixed {
        /// The argument.
        what: &'static str,
        /// The format of the others.
        expected: DType,
        /// Its format.
        got: DType,
    },
    /// A name that is no order of summation.
    #[error(
        "\"{name}\" is no order of summation: use tile32, tile32-blocked, dot2, dot2-lanes, sequential, reversed, \
         pairwise, split-k(N) with N from 1, or exact"
    )]
    UnknownOrder {
        /// The name given.
        name: String,
    },
    /// A name that is no kernel path.
    #[error("\"{name}\" is no kernel path: use portable, avx2, avx512 or avx512-bf16, or unset ULPSCOPE_CPU")]
    UnknownPath {
        /// The name given.
        name: String,
    },
    /// A kernel path that this CPU cannot run.
    #[error("this CPU has not the instructions of the kernel path \"{name}\": it can run {available}")]
    MissingInstructions {
        /// The path asked for.
        name: &'static str,
        /// The paths there are.
        available: String,
    },
}
