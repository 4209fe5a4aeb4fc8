//! How far apart two arrays of numbers are, and two sets of logits.
//!
//! Pure numbers: no tensors, files, clocks or randomness. Everything is computed in f64, in an
//! order of summation that depends on the length alone; large inputs are spread over the threads of
//! the current rayon pool, and any number of threads gives the same bits.
//!
//! - [`difference`], [`per_row`]: everything elementwise, in one pass ([`Difference`]).
//! - [`digest`], [`origins`]: the same tensor under another name.
//! - [`compare_logits`]: KL divergence, agreement of the most likely tokens, margins.
//! - [`correlation`]: of pairs, however they were picked.
//! - [`max_relative`], [`ulp_histogram`]: for buffers and for roundings that flipped.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_metrics::difference;
//!
//! let a = Floats::from(vec![1.0f32, 0.697_830_6, -2.5, 0.0]);
//! let b = a.cast(DType::Bf16);
//! let apart = difference(&a, &b)?;
//! assert_eq!(apart.equal_fraction(), 0.75);
//! assert_eq!(apart.max_index, Some(1));
//! # Ok::<(), ulpscope_metrics::MetricsError>(())
//! ```

mod correlation;
mod difference;
mod digest;
mod error;
mod logits;
mod relative;
mod rows;
mod sources;
mod sums;
mod ulps;
mod vector;

pub use correlation::correlation;
pub use difference::{Difference, difference};
pub use digest::{canonical, digest, mix};
pub use error::MetricsError;
pub use logits::{LogitDifference, Position, compare_logits, nll};
pub use relative::max_relative;
pub use rows::per_row;
pub use sources::{Fingerprint, Origin, origins};
pub use sums::{ATOL, RTOL};
pub use ulps::{UlpHistogram, ulp_histogram};
