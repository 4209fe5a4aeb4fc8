//! The model that people import.

use std::ops::Deref;

use burn::module::ParamId;
use ulpscope_decoder::{Model, Parameters, RotaryEmbedding};

use crate::config::LlamaConfig;

/// A Llama in memory: a [`Model`] of a [`LlamaConfig`], and a [`Module`] of burn.
///
/// # As a module of burn
///
/// `num_params`, `visit`, `map`, `to_device`, `fork`, records and stores know each parameter by its
/// name in PyTorch's state dict. Values have their storage dtype; linear weights are `[out, in]`,
/// as PyTorch has them. A tied weight is one parameter. Visiting unpacks a weight when its value is
/// asked for, bit for bit; mapping packs what the mapper returns. The containers are `Vec` and
/// `Struct:Llama`, so that no adapter of a store transposes anything.
///
/// Rotary buffers are no parameters. They are plain numbers, stay on the host when the model moves,
/// and are kept when parameters are loaded.
///
/// Some of the trait needs weights that burn holds itself, as tensors. These are packed, or widened
/// once:
/// - Packing cuts gradients off. `train` and `valid` give the same model; `set_require_grad`
///   changes nothing.
/// - Adapters can't be attached: `apply_lora`, `apply_qlora` and `apply_reparameterization` panic.
/// - A quantised parameter is dequantised to the dtype that it had: its values change, its memory
///   doesn't.
///
/// To train, build another module from the tensors that a visitor sees.
///
/// # Panics
/// `map` panics if the mapper returns another shape. Records and stores refuse such a value before
/// that.
///
/// [`Module`]: burn::module::Module
#[derive(Clone, Debug)]
pub struct Llama {
    pub(crate) model: Model,
    /// One for each parameter, in the order of the state dict.
    pub(crate) ids: Vec<ParamId>,
}

impl Llama {
    /// Builds the model from its parameters, with rotary buffers as the constructor computes them.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn new<P: Parameters>(config: &LlamaConfig, parameters: &mut P) -> Result<Self, P::Error> {
        let rotary = RotaryEmbedding::all(&config.architecture());
        Self::with_rotary(config, rotary, parameters)
    }

    /// The same with rotary buffers that a conversion has changed.
    ///
    /// # Errors
    /// What `parameters` fails with.
    pub fn with_rotary<P: Parameters>(
        config: &LlamaConfig,
        rotary: Vec<RotaryEmbedding>,
        parameters: &mut P,
    ) -> Result<Self, P::Error> {
        let of = config.architecture();
        let ids = of.parameters().iter().map(|_| ParamId::new()).collect();
        Ok(Llama { model: Model::new(&of, rotary, parameters)?, ids })
    }
}

impl Deref for Llama {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}
