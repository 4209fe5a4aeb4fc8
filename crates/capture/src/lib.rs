//! Probes that record, force and patch activations, and the files that activations are kept in.
//!
//! Everything here is a [`Probe`](ulpscope_decoder::Probe), an argument of the forward pass: there
//! are no hooks to register, and none to remove.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use ulpscope_capture::Recorder;
//! use ulpscope_floats::Floats;
//! use ulpscope_decoder::{Probe, bridge};
//! # let config = serde_json::json!({ "model_type": "llama", "num_hidden_layers": 0 });
//! # let model = ulpscope_llama::LlamaConfig::from_json(&config)?.architecture();
//!
//! let norm = model.site("model.norm")?;
//! let mut recorder = Recorder::new(|site| site == norm);
//! let x: Tensor<1> = bridge::tensor(Floats::from(vec![0.5f32]), [1], &Device::flex());
//! recorder.at(norm, x); // the model does this
//! assert_eq!(recorder.activations[&norm].values.get(0), 0.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `python/capture.py` in this crate's folder records a trace of the same form from a model in
//! transformers: one file, which needs torch, transformers and safetensors. `ulpscope diff`
//! compares the two site by site.

mod pattern;
mod probes;
mod trace;

pub use pattern::{Pattern, PatternError};
pub use probes::{Activation, Activations, Force, Observer, Patch, Recorder};
pub use trace::{Trace, TraceError};
