//! What a decoder is, as one value, and the engine that runs it with a probe at every observation
//! point.
//!
//! An [`Architecture`] is resolved from config.json by a [`Family`]. It lists the model's
//! operations as [`Node`]s, in forward order: from them follow the sites, their shapes, who reads
//! what, and the parameters with their names. A [`Model`] runs the nodes on burn, each rounded
//! where PyTorch rounds it. A block that the kernels know runs as one operation, with the same
//! bits.
//!
//! Each operation says in which dtype it computes, in which order it sums and where it rounds: a
//! `Precision` section stands wherever it matters. dtype is data: it comes with the parameters.
//! Batch size is 1.
//!
//! ```
//! use ulpscope_decoder::{Activation, Architecture, Attention, AttentionKind, FeedForward, Layer, Op};
//! # use ulpscope_decoder::{ConfigError, Family, Gguf, Norm, Outside, RopeKind, RopeParameters};
//! # const GGUF: Gguf = Gguf { architecture: "mine", permuted: false, keys: &[] };
//! # static MINE: Family = Family::new("mine", "Mine", GGUF, |_, _| Err(ConfigError::NotAnObject), "not at all");
//! # let norm = Norm { eps: 1e-5, kind: None };
//! # let rope = RopeParameters { rope_theta: 1e4, kind: RopeKind::Default, factors: None };
//! # let outside = Outside { vocab: 10, norm, tied: true, rope, head_dim: 4, max_positions: 64, dtype: None };
//!
//! let mut attention = Attention::new(2, 1, 4);
//! attention.qk_norm = true;
//! let layer = Layer::new(8, attention, FeedForward::new(16, Activation::Silu), norm);
//! let decoder = Architecture::new(&MINE, 8, outside, vec![layer]);
//!
//! let site = decoder.site("model.layers.0.self_attn.q_norm")?;
//! assert_eq!(site.op(), Op::Norm);
//! assert_eq!(decoder.shape(site, 3), [1, 3, 2, 4]);
//! let read: Vec<_> = decoder.reads(site, AttentionKind::Sdpa).iter().map(ToString::to_string).collect();
//! assert_eq!(read, ["model.layers.0.self_attn.q_proj"]);
//! # Ok::<(), ulpscope_decoder::UnknownSite>(())
//! ```
//!
//! # What is not here
//!
//! No family: those are in `ulpscope-llama` and `ulpscope-families`. No files, no recipes. No
//! sampling, no batch: a comparison runs a prompt once, and continues it greedily if at all
//! ([`Model::read`]). No burn-nn modules: they round elsewhere.

mod activation;
mod architecture;
mod arithmetic;
mod attention;
mod block;
mod config;
pub mod departure;
mod family;
mod fields;
mod fused;
mod hook;
mod layer;
mod mlp;
mod model;
mod node;
mod norm;
mod ops;
mod order;
mod parameters;
mod past;
mod probe;
mod rope;
mod rotary;
mod semantics;
mod site;
#[cfg(test)]
mod testing;

pub use activation::Activation;
pub use architecture::{Architecture, Outside, Parameter, Rope};
pub use arithmetic::Arithmetic;
pub use block::{Block, Module};
pub use config::{ConfigError, Defaults, Dense, Keys, KnownKeys, invalid, unsupported};
pub use departure::{Variant, VariantError, Variants};
pub use family::{Family, Gguf, TokenizerClass};
pub use fields::Field;
pub use hook::{Hook, How};
pub use layer::{Attention, FeedForward, Layer, Norm, QueryScale, Role};
pub use model::{Embedding, Head, Model};
pub use node::{Along, Branch, Node, Op, Param, ParameterKind, Rows, Shape, Source};
pub use norm::RmsNorm;
pub use order::forward_order;
pub use parameters::Parameters;
pub use past::Past;
pub use probe::Probe;
pub use rope::{RopeKind, RopeParameters};
pub use rotary::{Held, RotaryEmbedding, RotaryTables, Tables};
pub use semantics::{Departure, Layers, Semantics};
pub use site::{AttentionKind, Part, Site, UnknownAttention, UnknownSite, layer_of};
#[doc(hidden)] // until `compare` uses the new name
pub use ulpscope_kernels::without_pool as apart;
pub use ulpscope_kernels::{Accumulation, Linear, bridge, name as kernel, owns, without_pool};
