//! How a checkpoint becomes a runnable model, as the chain of calls that a PyTorch user would
//! write.

mod cast;
mod load;
mod parse;

use std::fmt;

use ulpscope_decoder::{Architecture, RotaryEmbedding};
use ulpscope_floats::{DType, Floats};

use crate::StoredTensor;
use crate::convert::{self, Conversion, convert, converts_to};

pub use load::LoadDType;
pub use parse::RecipeError;

/// An ordered list of steps: `load(f32).to(bf16)`.
///
/// The first step is always a load. It gives every *parameter* its format; buffers that the model
/// computes for itself, such as `model.rotary_emb.inv_freq`, stay f32. Every later step casts
/// parameters **and** floating buffers, which is what `torch.nn.Module.to` does and what no state
/// dict shows.
///
/// ```
/// use ulpscope_floats::{DType, Floats};
/// use ulpscope_weights::Recipe;
///
/// let loaded: Recipe = "load(torch.bfloat16)".parse()?;
/// let cast: Recipe = "load(f32).to(bf16)".parse()?;
/// assert_eq!(loaded.to_string(), "load(bf16)");
///
/// let frequency = Floats::from(vec![0.697_830_6f32]);
/// let (kept, _) = loaded.buffer("inv_freq", frequency.clone());
/// let (rounded, conversion) = cast.buffer("inv_freq", frequency);
/// assert_eq!((kept.dtype(), rounded.dtype()), (DType::F32, DType::Bf16));
/// assert_eq!(conversion.changed, 1);
/// # Ok::<(), ulpscope_weights::RecipeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recipe {
    steps: Vec<Step>,
}

/// One call of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// `load(DTYPE)`: `from_pretrained(dtype=…)`. Casts parameters, leaves buffers alone.
    Load(LoadDType),
    /// `.to(DTYPE)`: casts parameters and floating buffers.
    To(DType),
    /// `.half()`: `.to(f16)`.
    Half,
    /// `.bfloat16()`: `.to(bf16)`.
    Bfloat16,
    /// `.float()`: `.to(f32)`.
    Float,
    /// `.double()`: `.to(f64)`.
    Double,
}

impl Step {
    /// The format that parameters have after this step; `auto` is what [`LoadDType::Auto`] stands
    /// for.
    pub fn dtype(self, auto: DType) -> DType {
        match self {
            Step::Load(dtype) => dtype.resolve(auto),
            other => cast::target(other).unwrap_or(auto),
        }
    }

    /// Whether floating buffers are cast too.
    pub fn casts_buffers(self) -> bool {
        cast::target(self).is_some()
    }
}

impl Recipe {
    /// `load(DTYPE)` alone.
    pub fn load(dtype: LoadDType) -> Self {
        Recipe { steps: vec![Step::Load(dtype)] }
    }

    /// The same recipe with `.to(DTYPE)` after it.
    pub fn to(mut self, dtype: DType) -> Self {
        self.steps.push(Step::To(dtype));
        self
    }

    /// The steps in order; the first is [`Step::Load`], and no other is.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The format of every parameter in the end. `auto` is
    /// [`Checkpoint::auto_dtype`](crate::Checkpoint::auto_dtype).
    pub fn dtype(&self, auto: DType) -> DType {
        self.steps.last().map_or(auto, |step| step.dtype(auto))
    }

    /// The format of every floating buffer in the end.
    pub fn buffer_dtype(&self) -> DType {
        self.steps.iter().rev().find_map(|step| cast::target(*step)).unwrap_or(DType::F32)
    }

    /// A parameter as the finished model holds it, and what happened to it on the way. Borrows
    /// `stored` if no bit changes.
    ///
    /// # Precision
    /// Each step rounds to nearest, ties to even, one after another: `f32 → f16 → bf16` rounds
    /// twice. f64 reaches 16 bits through f32, as in PyTorch.
    pub fn parameter<'s>(&self, stored: &'s StoredTensor<'_>, auto: DType) -> (Floats<'s>, Conversion) {
        convert(&stored.name, &stored.stored, stored.values.view(), &self.chain(auto))
    }

    /// [`Recipe::parameter`], taking the tensor, so that values which stay as they are need not be
    /// copied to outlive it.
    pub fn into_parameter<'a>(&self, stored: StoredTensor<'a>, auto: DType) -> (Floats<'a>, Conversion) {
        convert(&stored.name, &stored.stored, stored.values, &self.chain(auto))
    }

    /// Whether no step changes a bit, whatever the values.
    pub(crate) fn keeps(&self, stored: &StoredTensor, auto: DType) -> bool {
        convert::keeps(stored.values.dtype(), &self.chain(auto))
    }

    /// What [`Recipe::parameter`] reports, if its values have the bits of `known` and that could be
    /// seen without writing them down: for a tensor in f32 that is rounded to bf16 once.
    pub(crate) fn gives(&self, stored: &StoredTensor, auto: DType, known: &Floats) -> Option<Conversion> {
        converts_to(&stored.name, &stored.stored, &stored.values, &self.chain(auto), known)
    }

    /// The formats that a parameter goes through, one after another.
    fn chain(&self, auto: DType) -> Vec<DType> {
        self.steps.iter().map(|step| step.dtype(auto)).collect()
    }

    /// A floating buffer as the finished model holds it, from the values that the model computes.
    pub fn buffer<'a>(&self, name: &str, computed: Floats<'a>) -> (Floats<'a>, Conversion) {
        let chain: Vec<DType> = self.steps.iter().filter_map(|step| cast::target(*step)).collect();
        let from = computed.dtype().to_string();
        convert(name, &from, computed, &chain)
    }
}

impl Recipe {
    /// The rotary embeddings of a model with this architecture, and a report for each of their
    /// buffers.
    ///
    /// Loading computes buffers in f32 whatever the dtype; every later step casts them.
    pub fn rotary(&self, of: &Architecture) -> (Vec<RotaryEmbedding>, Vec<Conversion>) {
        let mut conversions = Vec::new();
        let computed = RotaryEmbedding::all(of);
        let converted = computed.iter().enumerate().map(|(i, computed)| {
            let buffers = computed.buffers().map(|(name, values)| {
                let (values, conversion) = self.buffer(name, values.view());
                conversions.push(conversion);
                values.into_owned()
            });
            RotaryEmbedding::from_buffers(of, i, buffers)
        });
        let converted = converted.collect();
        (converted, conversions)
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            step.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Load(dtype) => write!(f, "{}({dtype})", load::CALL),
            other => cast::write(*other, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Recipe {
        text.parse().unwrap()
    }

    fn stored(values: Floats<'_>) -> StoredTensor<'_> {
        StoredTensor {
            name: "w".into(),
            shape: vec![values.len()],
            stored: values.dtype().to_string(),
            values,
        }
    }

    #[test]
    fn formats_in_the_end() {
        for (text, parameters, buffers) in [
            ("load(bf16)", DType::Bf16, DType::F32),
            ("load(f32).to(bf16)", DType::Bf16, DType::Bf16),
            ("load(auto)", DType::F16, DType::F32),
            ("load(auto).float()", DType::F32, DType::F32),
            ("load(f64)", DType::F64, DType::F32),
            ("load(f32).half().bfloat16().double()", DType::F64, DType::F64),
        ] {
            assert_eq!(recipe(text).dtype(DType::F16), parameters, "{text}");
            assert_eq!(recipe(text).buffer_dtype(), buffers, "{text}");
        }
    }

    #[test]
    fn load_and_cast_give_the_same_parameter_but_not_the_same_buffer() {
        let weight = stored(Floats::from(vec![0.1f32, -0.3, 1.0]));
        let (a, _) = recipe("load(bf16)").parameter(&weight, DType::F32);
        let (b, _) = recipe("load(f32).to(bf16)").parameter(&weight, DType::F32);
        assert_eq!(a, b);
        let (a, kept) = recipe("load(bf16)").buffer("inv_freq", Floats::from(vec![0.1f32]));
        let (b, rounded) = recipe("load(f32).to(bf16)").buffer("inv_freq", Floats::from(vec![0.1f32]));
        assert_eq!((a.get(0), b.get(0)), (f64::from(0.1f32), 0.10009765625));
        assert_eq!((kept.changed, rounded.changed), (0, 1));
    }

    #[test]
    fn rounding_twice_is_not_rounding_once() {
        // Just above a bf16 midpoint, by less than f16 can hold: f16 lands on the midpoint, which
        // then goes to even.
        let x = 1.0f32 + 1.0 / 256.0 + 1.0 / 65536.0;
        let weight = stored(Floats::from(vec![x]));
        let once = recipe("load(bf16)").parameter(&weight, DType::F32).0.get(0);
        let twice = recipe("load(f16).to(bf16)").parameter(&weight, DType::F32).0.get(0);
        assert_eq!((once, twice), (1.0078125, 1.0));
    }

    #[test]
    fn unchanged_values_are_borrowed() {
        let weight = stored(Floats::from(vec![1.5f32; 4]));
        for text in ["load(f32)", "load(f32).float()", "load(f64).float()"] {
            let (values, conversion) = recipe(text).parameter(&weight, DType::F32);
            assert_eq!(values.bytes().as_ptr(), weight.values.bytes().as_ptr(), "{text}");
            assert_eq!(conversion.changed, 0);
        }
    }
}
