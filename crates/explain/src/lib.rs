//! From a divergence between two copies of one LLM to its cause.
//!
//! Everything in which two arms can differ is a *factor*: tensors of the state dict, buffers that no state dict holds,
//! fields of the config, choices of arithmetic. Factors are found by exact tests before anything is run. Then both
//! arms run in lockstep with the arms that would settle the matter: the arm with each factor restored, the reference
//! with each factor injected, both in a format that does not round in between, and the reference in other orders of
//! summation, which is the noise floor. An [`Explanation`](ulpscope_record::Explanation) is what came out.
//!
//! - [`explain`]: the whole way, for two arms.
//! - [`explain_trace`]: the same for an arm against what another program recorded.
//! - [`causes`]: the causes that can be named, and what to do about each.
//!
//! Three numbers are kept apart, because in 16-bit formats one flipped rounding saturates the logits: whether a cause
//! is proved (bits), how large it is by itself (KL in f32 or f64), and how large noise is (KL over orders).
//!
//! What is not here: reading models, printing, files. Where the two arms share a fault, a comparison of the two can't
//! show it; what can be seen without a third opinion is said.

mod arms;
pub mod causes;
mod error;
mod evidence;
mod floor;
mod growth;
mod judgement;
mod layer_groups;
mod statistics;
#[cfg(test)]
mod testing;
mod thresholds;
mod trace;
mod words;

pub use arms::{Answer, Options, Stage, explain};
pub use error::ExplainError;
pub use trace::{TracePlan, explain_trace};
