//! An arm: one recipe applied to one checkpoint.

use burn::tensor::{Device, Tensor};
use ulpscope_decoder::{Architecture, Linear, Model, Parameters, RotaryEmbedding, bridge};
use ulpscope_floats::{DType, Floats};

use crate::{Checkpoint, Conversion, Recipe, StoredTensor, WeightsError};

/// One recipe applied to one checkpoint: what a PyTorch user holds after the recipe's calls.
#[derive(Clone)]
pub struct Arm<'a> {
    checkpoint: &'a Checkpoint,
    recipe: Recipe,
    architecture: Architecture,
}

impl<'a> Arm<'a> {
    /// Applies `recipe` to `checkpoint`. Nothing is read yet.
    pub fn new(checkpoint: &'a Checkpoint, recipe: Recipe) -> Self {
        let mut architecture = checkpoint.architecture().clone();
        if let Some(rope) = architecture.ropes.first_mut() {
            rope.parameters.factors = checkpoint.rope_factors().map(<[f32]>::to_vec);
        }
        Arm { checkpoint, recipe, architecture }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The architecture, with the frequency factors that a GGUF may bring.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The dtype of parameters and stored activations.
    pub fn dtype(&self) -> DType {
        self.recipe.dtype(self.checkpoint.auto_dtype())
    }

    /// What the recipe makes of a stored tensor, and a report of what it did.
    pub fn parameter<'s>(&self, stored: &'s StoredTensor<'_>) -> (Floats<'s>, Conversion) {
        self.recipe.parameter(stored, self.checkpoint.auto_dtype())
    }

    /// The same for a tensor whose values may lie in the checkpoint's memory map: what is kept as
    /// it is stays there.
    pub fn parameter_of<'c>(&self, stored: &StoredTensor<'c>) -> (Floats<'c>, Conversion) {
        if stored.values.is_borrowed() {
            return self.recipe.into_parameter(stored.clone(), self.checkpoint.auto_dtype());
        }
        let (values, conversion) = self.parameter(stored);
        (values.into_owned(), conversion)
    }

    /// Whether the recipe leaves a stored tensor as it is, bit for bit.
    pub fn keeps(&self, stored: &StoredTensor<'_>) -> bool {
        self.recipe.keeps(stored, self.checkpoint.auto_dtype())
    }

    /// [`Arm::parameter_of`] where other arms' values are at hand: values that have the bits of one
    /// of those are not written down a second time.
    pub fn parameter_beside<'c>(
        &self,
        stored: &StoredTensor<'c>,
        known: &[Floats],
    ) -> (Beside<'c>, Conversion) {
        let same = |(i, known)| {
            let conversion = self.recipe.gives(stored, self.checkpoint.auto_dtype(), known)?;
            Some((Beside::Same(i), conversion))
        };
        known.iter().enumerate().find_map(same).unwrap_or_else(|| {
            let (values, conversion) = self.parameter_of(stored);
            (Beside::Other(values), conversion)
        })
    }

    /// The rotary embeddings with their buffers as the recipe leaves them, and a report for each
    /// buffer.
    pub fn rotary(&self) -> (Vec<RotaryEmbedding>, Vec<Conversion>) {
        self.recipe.rotary(&self.architecture)
    }

    /// The whole model in memory, and a report for every parameter and buffer.
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor can't be read.
    pub fn load(&self, device: &Device) -> Result<(Model, Vec<Conversion>), WeightsError> {
        let (rotary, buffers) = self.rotary();
        let mut source = Source { arm: self, device, conversions: Vec::new() };
        let model = Model::new(&self.architecture, rotary, &mut source)?;
        let mut conversions = source.conversions;
        conversions.extend(buffers);
        Ok((model, conversions))
    }
}

/// What a recipe makes of a tensor, beside values that are known.
pub enum Beside<'c> {
    /// The bits of the known values with this index.
    Same(usize),
    /// Values that may or may not be among them.
    Other(Floats<'c>),
}

/// Hands the parameters to the model, and keeps the reports.
struct Source<'a> {
    arm: &'a Arm<'a>,
    device: &'a Device,
    conversions: Vec<Conversion>,
}

impl Parameters for Source<'_> {
    type Error = WeightsError;

    fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Result<Tensor<D>, WeightsError> {
        let stored = self.arm.checkpoint.tensor(name)?;
        let (values, conversion) = self.arm.parameter(&stored);
        self.conversions.push(conversion);
        Ok(bridge::tensor(values, shape, self.device))
    }

    fn linear(
        &mut self,
        weight: &str,
        bias: Option<&str>,
        shape: [usize; 2],
    ) -> Result<Linear, WeightsError> {
        let mut read = |name| -> Result<Floats<'_>, WeightsError> {
            let (values, conversion) = self.arm.parameter_of(&self.arm.checkpoint.tensor(name)?);
            self.conversions.push(conversion);
            Ok(values)
        };
        let weight = read(weight)?;
        let bias = bias.map(read).transpose()?;
        Ok(Linear::of_values(&weight, bias.as_ref(), shape, self.device))
    }
}
