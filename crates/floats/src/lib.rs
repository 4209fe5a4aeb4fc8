//! Number formats, rounding modes and ulps, down to the bit.
//!
//! Everything here is pure arithmetic on slices: no tensors, no files, no threads.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//!
//! let x = Floats::from(vec![1.0f32, 0.697_830_6]);
//! let rounded = x.cast(DType::Bf16);
//! assert_eq!(rounded.dtype(), DType::Bf16);
//! assert_eq!(rounded.get(1), 0.69921875);
//! ```

//! - [`Floats`]: a run of numbers whose format is data ([`DType`]), and its casts.
//! - [`Rounding`]: the ways in which a conversion drops bits, applied on their own.
//! - [`ulp_distance`], [`ulp`]: how far apart two numbers are, counted in representable numbers.
//! - [`pow`]: powers in f32 as PyTorch's vectorised code has them.
//! - [`fp8`], [`blocks`]: floats of eight bits, and formats with a scale for a block.
//! - [`random`]: numbers that are the same on every machine.
//! - the conversions themselves, on numbers and on slices ([`f32_to_bf16`] and the like).

mod array;
pub mod blocks;
mod convert;
mod dtype;
pub mod fp8;
mod pow;
pub mod random;
mod rounding;
mod ulps;

pub use array::Floats;
pub use convert::{
    bf16_from_f32, bf16_from_f64_exact, bf16_to_f32, f16_from_f64_exact, f16_to_f32, f32_from_bf16,
    f32_to_bf16, f32_to_f16,
};
pub use dtype::{DType, UnknownDType};
pub use half::{bf16, f16};
pub use pow::pow;
pub use rounding::{Rounding, round_bf16, round_f16, truncate_bf16};
pub use ulps::{Float, ulp, ulp_distance};
