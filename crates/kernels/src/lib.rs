//! Matrix products whose order of summation is declared, on slices.
//!
//! Two honest kernels for one bf16 product disagree in one output of ten thousand, only because
//! they add in another order. A tool that judges differences must control that order. So it has a
//! name ([`Accumulation`]), a definition in plain scalar code ([`dot`]), and fast paths ([`Path`])
//! that give the same bits on every CPU.
//!
//! - [`linear`]: `x wᵀ + b` for f32, bf16 and f16, with one rounding at the end. An element of the
//!   result depends on its row of x and of the weight alone, not on how many rows or threads there
//!   are.
//! - [`PackedWeight`]: a weight in its storage dtype, laid out for streaming; [`Weight::Rows`]
//!   reads one as it lies in a checkpoint.
//! - [`rms_norm`], [`rotary`], [`silu_up`], [`add`], [`mul`], [`softmax`], [`attention_eager`],
//!   [`attention_sdpa`]: the operations between the products of a decoder, rounded where PyTorch's
//!   CPU kernels round, in their order and with their [`exp()`].
//! - [`round_to_bf16`]: a weight rounded and the changes counted, in one pass.
//! - [`recover()`], [`recognise()`]: the order of summation of any sum, found by feeding it
//!   numbers, as a [`SumTree`].
//! - [`ExactSum`]: sums of products without rounding, behind [`Accumulation::Exact`].
//!
//! What is not here: tensors, devices, models. Subnormal numbers are numbers, by every path; an
//! instruction that flushes them is used only where the exponents prove that none can occur.

mod attention;
pub mod bridge;
mod by_path;
mod element;
mod error;
mod exact;
mod exact_row;
mod exp;
mod gate;
mod lanes;
mod layer;
mod linear;
mod matmul;
mod norm;
mod order;
mod output;
mod pairs;
mod path;
mod plan;
mod range;
mod recognise;
mod recover;
mod reference;
mod rotary;
mod rounding;
mod softmax;
mod spin_pool;
mod storage;
mod sum;
mod tile;
mod tree;
mod tree_text;
mod weight;

pub use attention::{Attention, attention_eager, attention_sdpa, exp_scores};
pub use error::KernelError;
pub use exact::ExactSum;
pub use exp::{exp, exp_fast, exp_u20};
pub use gate::{silu, silu_up};
pub use layer::{DecoderLayer, Mixing};
pub use linear::{Projection, linear, linear_group_on, linear_on};
pub use matmul::{Linear, handles, matmul, matmul_transposed, name, owns};
pub use norm::{rms_norm, rms_norm_on};
pub use order::Accumulation;
pub use pairs::{add, mul};
pub use path::{PATH_VARIABLE, Path};
pub use recognise::{declared, recognise};
pub use recover::{Masks, ProbeError, Recovered, recover};
pub use reference::dot;
pub use rotary::rotary;
pub use rounding::{Rounded, round_to_bf16};
pub use softmax::softmax;
pub use spin_pool::{SpinPool, without_pool};
pub use tree::SumTree;
pub use weight::{PackedWeight, Weight};
