//! Hugging Face's Llama op by op on burn, with a probe at every observation point.
//!
//! [`LlamaConfig`] reads `config.json` and describes the model as an [`Architecture`], which
//! `ulpscope-decoder` runs. Each operation rounds exactly where PyTorch does. dtype is data: it
//! comes with the parameters. Batch size is 1.
//!
//! The model reads no file and does not know which conversion produced its parameters. It is built
//! from [`Parameters`] and its [`RotaryEmbedding`]s, whose buffers are plain data. A [`Llama`] is a
//! module of burn: what burn and the crate `burn-store` can do with modules they do with it, under
//! the names of PyTorch's state dict.
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::{Device, Tensor};
//! use burn_store::{ModuleSnapshot, SafetensorsStore};
//! use ulpscope_floats::Floats;
//! use ulpscope_llama::{Arithmetic, Llama, LlamaConfig, Parameters, bridge};
//!
//! /// All parameters have the same value.
//! struct Constant(f32);
//!
//! impl Parameters for Constant {
//!     type Error = std::convert::Infallible;
//!     fn tensor<const D: usize>(&mut self, _name: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error> {
//!         let values = Floats::from(vec![self.0; shape.iter().product()]);
//!         Ok(bridge::tensor(values, shape, &Device::flex()))
//!     }
//! }
//!
//! let config = LlamaConfig::from_json(&serde_json::json!({
//!     "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
//!     "num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": true,
//! }))?;
//! let model = Llama::new(&config, &mut Constant(0.02))?;
//! let logits = model.forward(&[1, 2, 3], Arithmetic::default(), &mut ());
//! assert_eq!(logits.dims(), [1, 3, 10]);
//!
//! // By burn's own means: its parameters are counted, saved in PyTorch's layout, and loaded into another model.
//! assert_eq!(model.num_params(), 1400);
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("model.safetensors");
//! model.save_into(&mut SafetensorsStore::from_file(&path))?;
//! let mut other = Llama::new(&config, &mut Constant(0.5))?;
//! let loaded = other.load_from(&mut SafetensorsStore::from_file(&path))?;
//! assert!(loaded.applied.contains(&"model.layers.0.self_attn.q_proj.weight".to_owned()));
//! let again = other.forward(&[1, 2, 3], Arithmetic::default(), &mut ());
//! assert_eq!(again.into_data(), logits.into_data()); // bit for bit
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is not here
//!
//! No sampling, no batch: a comparison runs a prompt once, and continues it greedily if at all. No
//! other family: those are in `ulpscope-families`.

mod config;
mod model;
mod module;

pub use config::{LLAMA, LlamaConfig};
pub use model::Llama;
pub use ulpscope_decoder::{
    Accumulation, Activation, Architecture, Arithmetic, AttentionKind, ConfigError, Departure, Parameters,
    Probe, RopeKind, RopeParameters, RotaryEmbedding, Semantics, Site, Variant, bridge,
};
