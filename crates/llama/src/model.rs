//! The model that people import.

use std::ops::Deref;

use ulpscope_decoder::{Model, Parameters, RotaryEmbedding};

use crate::config::LlamaConfig;

/// A Llama in memory: a [`Model`] of a [`LlamaConfig`].
#[derive(Clone, Debug)]
pub struct Llama(Model);

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
        Ok(Llama(Model::new(&config.architecture(), rotary, parameters)?))
    }
}

impl Deref for Llama {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.0
    }
}
