//! Hugging Face's Llama op by op on burn, with a probe at every observation point.
//!
//! Each operation says in which dtype it computes, in which order it sums and where it rounds, and rounds exactly
//! where PyTorch does: a `Precision` section stands wherever it matters. dtype is data: it comes with the
//! parameters. Batch size is 1.
//!
//! The model reads no file and does not know which conversion produced its parameters. It is built from
//! [`Parameters`] and a [`RotaryEmbedding`], whose buffers are plain data:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use ulpscope_floats::Floats;
//! use ulpscope_llama::{Arithmetic, Llama, LlamaConfig, Parameters, RotaryEmbedding, bridge};
//!
//! /// Every parameter is 0.02.
//! struct Constant(Device);
//!
//! impl Parameters for Constant {
//!     type Error = std::convert::Infallible;
//!     fn tensor<const D: usize>(&mut self, _name: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error> {
//!         let values = Floats::from(vec![0.02f32; shape.iter().product()]);
//!         Ok(bridge::tensor(values, shape, &self.0))
//!     }
//! }
//!
//! let config = LlamaConfig::from_json(&serde_json::json!({
//!     "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
//!     "num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": true,
//! }))?;
//! let device = Device::flex();
//! let model = Llama::new(&config, RotaryEmbedding::new(&config), &mut Constant(device))?;
//! let logits = model.forward(&[1, 2, 3], Arithmetic::default(), &mut ());
//! assert_eq!(logits.dims(), [1, 3, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is not here
//!
//! No sampling, no batch: a comparison runs a prompt once, and continues it greedily if at all ([`Llama::read`]). No burn-nn modules: they round elsewhere.

mod activation;
mod arithmetic;
mod attention;
mod block;
mod config;
mod fused;
mod mlp;
mod model;
mod norm;
mod ops;
mod parameters;
mod past;
mod probe;
mod rope;
mod rotary;
mod semantics;
mod site;
#[cfg(test)]
mod testing;
pub mod variant;

pub use activation::Activation;
pub use arithmetic::Arithmetic;
pub use attention::Attention;
pub use block::Block;
pub use config::{ConfigError, LlamaConfig, layer_of};
pub use mlp::Mlp;
pub use model::{Embedding, Head, Llama};
pub use norm::RmsNorm;
pub use parameters::Parameters;
pub use past::Past;
pub use probe::Probe;
pub use rope::{RopeKind, RopeParameters};
pub use rotary::{RotaryEmbedding, RotaryTables};
pub use semantics::{Departure, Layers, Semantics};
pub use site::{AttentionKind, BlockSite, Site, UnknownSite};
pub use ulpscope_kernels::{Accumulation, Linear, apart, bridge, name as kernel, owns};
pub use variant::{Variant, VariantError, Variants};
