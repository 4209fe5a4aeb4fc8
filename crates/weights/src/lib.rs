//! Checkpoints, and the recipes that make runnable models of them.
//!
//! - [`Checkpoint`]: a Hugging Face directory or a GGUF file, opened by its headers, checked, and
//!   mapped.
//! - [`Recipe`]: what is done to its parameters and to the model's buffers, as the calls a PyTorch
//!   user would write.
//! - [`Conversion`]: what that did to each of them, counted.
//! - [`locate`]: from a name that a user types to a path on disk, by way of the hub's cache and the
//!   hub.
//! - [`survive_signals`], [`Allocator`], [`stay_within_memory`]: for programs that would rather
//!   report than die when a file is cut short under its memory map, and when memory runs out.
//!
//! No forward pass runs here, and nothing here prints.
//!
//! ```
//! use std::path::Path;
//! use ulpscope_weights::{Action, Checkpoint, Recipe};
//!
//! let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama");
//! let checkpoint = Checkpoint::open(&model)?;
//! let recipe: Recipe = "load(f32).to(bf16)".parse()?;
//!
//! let stored = checkpoint.tensor("model.norm.weight")?;
//! let (values, conversion) = recipe.parameter(&stored, checkpoint.auto_dtype());
//! assert_eq!(values.len(), checkpoint.architecture().width);
//! assert_eq!(conversion.action, Action::Rounded);
//! assert!(conversion.changed > 0 && conversion.overflowed == 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arm;
mod checkpoint;
mod convert;
mod error;
mod folder;
mod form;
#[cfg(test)]
mod fuzz;
mod gguf;
mod guard;
mod hashes;
mod hub;
mod limit;
mod lost;
mod map;
mod memory;
mod package;
mod recipe;
mod shards;
mod source;
mod stamp;
mod suggest;
mod tensor;
mod tokenizer;

pub use arm::{Arm, Beside};
pub use checkpoint::{Checkpoint, Format};
pub use convert::{Action, Conversion};
pub use error::{Mismatch, WeightsError};
pub use limit::stay_within_memory;
pub use lost::survive_signals;
pub use memory::Allocator;
pub use recipe::{LoadDType, Recipe, RecipeError, Step};

pub use source::{Located, ModelRef, Options, Progress, Source, SourceError, locate, locate_first};
pub use tensor::StoredTensor;
pub use tokenizer::Tokenizer;
