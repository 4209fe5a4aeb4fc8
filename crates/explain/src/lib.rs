//! From a divergence between two copies of one LLM to its cause.
//!
//! Everything in which two arms can differ is a *factor*: tensors of the state dict, buffers that
//! no state dict holds, fields of the config, choices of arithmetic. Exact tests find the factors
//! before anything runs. Then both arms run in lockstep with the arms that settle the matter: the
//! arm with each factor restored, the reference with each factor injected, both in a format that
//! does not round in between, and the reference in other orders of summation, which is the noise
//! floor. An [`Explanation`](ulpscope_record::Explanation) is what came out, and its
//! [`Judgement`](ulpscope_record::Judgement) says what that means for the model.
//!
//! ```
//! use burn::tensor::Device;
//! use ulpscope_capture::Pattern;
//! use ulpscope_compare::{NamedArm, Plan};
//! use ulpscope_decoder::Semantics;
//! use ulpscope_explain::{Options, explain};
//! use ulpscope_weights::{Arm, Checkpoint};
//!
//! let checkpoint = Checkpoint::open("../../tests/fixtures/tiny-llama".as_ref())?;
//! let arm = |name: &str, recipe: &str| -> Result<_, Box<dyn std::error::Error>> {
//!     let arm = Arm::new(&checkpoint, recipe.parse()?);
//!     Ok(NamedArm { name: name.to_owned(), arm, semantics: Semantics::default() })
//! };
//! let plan = Plan {
//!     arms: vec![arm("a", "load(bf16)")?, arm("b", "load(f32).to(bf16)")?],
//!     prompts: vec![(0..40).collect()],
//!     sites: Pattern::all(),
//!     device: Device::default(),
//!     longest_watched: usize::MAX,
//! };
//! let answer = explain(&plan, Options::default())?;
//! let cause = &answer.explanation.causes[0];
//! assert_eq!(cause.id, "rotary-buffer-rounded");
//! assert!(cause.bit_equal, "undone, it leaves no bit different");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`explain`]: two arms.
//! - [`explain_trace`]: an arm against what another program recorded.
//! - [`causes`]: the causes that can be named, one file each. docs/adding-a-cause.md says how to
//!   add one.
//!
//! Three numbers are kept apart, because in 16-bit formats one flipped rounding saturates the
//! logits: whether a cause is proved (bits), how large it is by itself (KL in f32 or f64), and how
//! large noise is (KL over orders).
//!
//! Evidence is data until the end: no decision reads a sentence, and `words` makes all of them. The
//! crate reads no model, writes no file and prints nothing. A fault that both arms share does not
//! show in their difference; what a third opinion would show is reported apart.

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
