//! Rotary embeddings: buffers, tables of cos and sin, rotation.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use ulpscope_floats::{DType, Floats};

use crate::architecture::{Architecture, Rope as Spec};
use crate::arithmetic::Arithmetic;
use crate::departure::{Positions, Rope, Table};
use crate::layer::QueryScale;
use crate::ops::{add, mul, narrow, wide};
use crate::probe::Probe;
use crate::rope::RopeKind;
use crate::site::Site;
use ulpscope_kernels::{bridge, handles, rotary};

/// A rotary embedding: two buffers that no state dict holds, and the tables made from them.
///
/// The buffers are data, because what a conversion does to them is what this project is about:
/// `.to(bf16)` rounds both, loading in bf16 rounds neither.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// The frequencies in use, `model.rotary_emb.inv_freq`, `[D / 2]`.
    pub inv_freq: Floats<'static>,
    /// As they were computed, `model.rotary_emb.original_inv_freq`, `[D / 2]`.
    pub original_inv_freq: Floats<'static>,
    spec: Spec,
    sites: [Site; 2],
    max_positions: usize,
}

/// Tables of cos and sin for every position, `[1, T, D]` each.
#[derive(Clone, Debug)]
pub struct RotaryTables {
    /// Cosines, times the attention scaling.
    pub cos: Tensor<3>,
    /// Sines, times the attention scaling.
    pub sin: Tensor<3>,
}

/// What blocks are told of the positions of their tokens.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Tables of each rotary embedding.
    pub ropes: Vec<RotaryTables>,
    /// The position of each token.
    pub positions: Vec<f64>,
}

impl RotaryEmbedding {
    /// The rotary embeddings of a model, with buffers as the constructor computes them, in f32
    /// whatever the model's dtype.
    pub fn all(of: &Architecture) -> Vec<Self> {
        let buffers = |i: usize| {
            let rope = &of.ropes[i];
            let inv_freq = Floats::from(rope.parameters.inv_freq(rope.width));
            Self::from_buffers(of, i, [inv_freq.clone(), inv_freq])
        };
        (0..of.ropes.len()).map(buffers).collect()
    }

    /// The rotary embedding of this index, with buffers that a conversion has changed.
    ///
    /// # Panics
    /// If a buffer has not D / 2 elements.
    pub fn from_buffers(of: &Architecture, index: usize, buffers: [Floats<'static>; 2]) -> Self {
        let spec = of.ropes[index].clone();
        for buffer in &buffers {
            assert_eq!(buffer.len(), spec.width / 2, "a rotary buffer has head_dim / 2 elements");
        }
        let [inv_freq, original_inv_freq] = buffers;
        let (sites, max_positions) = (of.tables(index), of.max_positions);
        RotaryEmbedding { inv_freq, original_inv_freq, spec, sites, max_positions }
    }

    /// Its two buffers with their names, in the order of [`Spec::buffers`].
    pub fn buffers(&self) -> [(&'static str, &Floats<'static>); 2] {
        let [first, second] = self.spec.buffers;
        [(first, &self.inv_freq), (second, &self.original_inv_freq)]
    }

    /// The frequencies that the forward pass uses for a sequence of `tokens`.
    ///
    /// Dynamic scaling replaces the buffer beyond the trained context, unrounded. LongRoPE copies
    /// either set *into* the buffer, which rounds to the buffer's dtype.
    pub fn frequencies(&self, tokens: usize) -> Floats<'static> {
        let rope = &self.spec.parameters;
        let computed =
            rope.inv_freq_in_forward(self.spec.width, self.max_positions, tokens).map(Floats::from);
        match (&rope.kind, computed) {
            (RopeKind::LongRope { .. }, computed) => {
                computed.unwrap_or_else(|| self.original_inv_freq.clone()).cast(self.inv_freq.dtype())
            }
            (_, Some(computed)) => computed,
            (_, None) => self.inv_freq.clone(),
        }
    }

    /// Tables for tokens at these positions, rounded to `dtype`; a variant may give the tables
    /// another format.
    ///
    /// # Precision
    /// Angles are f32 products of position and frequency; cos and sin are the f32 nearest to the
    /// true value, times the attention scaling in f32, then rounded to `dtype`. With f64,
    /// everything is f64.
    pub fn tables(
        &self,
        positions: &[f64],
        dtype: DType,
        arithmetic: Arithmetic,
        device: &Device,
        probe: &mut impl Probe,
    ) -> RotaryTables {
        let rows = positions.len();
        // The length that scaling by length goes by is the largest position's.
        let last = positions.iter().copied().fold(0.0, f64::max);
        let frequencies = self.frequencies(last as usize + 1);
        let half = frequencies.len();
        let round = |exact: Floats<'static>| match arithmetic.variants.table {
            None => exact.cast(dtype),
            Some(table) => {
                let format = table.format();
                let held = if dtype.contains(format) { dtype } else { DType::F32 };
                exact.cast(format).cast(held)
            }
        };
        let scaling = self.spec.parameters.attention_scaling();
        let table = |f: fn(f64) -> f64| {
            let angles = positions.iter().flat_map(|&p| (0..2 * half).map(move |k| (p, k % half)));
            let values = if dtype == DType::F64 {
                let exact = angles.map(|(p, k)| f(p * frequencies.get(k)) * scaling);
                round(exact.collect::<Vec<f64>>().into())
            } else {
                let (frequencies, scaling) = (frequencies.to_f32(), scaling as f32);
                let exact = angles.map(|(p, k)| f(f64::from(p as f32 * frequencies[k])) as f32 * scaling);
                round(exact.collect::<Vec<f32>>().into())
            };
            bridge::tensor(values, [1, rows, 2 * half], device)
        };
        let cos = probe.at(self.sites[0], table(f64::cos));
        let sin = probe.at(self.sites[1], table(f64::sin));
        RotaryTables { cos, sin }
    }
}

/// The format that a tensor is held in, and the device that holds it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'d> {
    /// The format.
    pub dtype: DType,
    /// The device.
    pub device: &'d Device,
}

impl Tables {
    /// Tables for a stretch of tokens, those before it having been read earlier: scaling by length
    /// goes by the stretch's last. A variant may give tokens other positions.
    pub fn new(
        rotary: &[RotaryEmbedding],
        tokens: Range<usize>,
        held: Held,
        arithmetic: Arithmetic,
        probe: &mut impl Probe,
    ) -> Self {
        let Held { dtype, device } = held;
        let positions: Vec<f64> = tokens.map(|i| Positions::of(arithmetic.variants.positions, i)).collect();
        let ropes = rotary.iter().map(|r| r.tables(&positions, dtype, arithmetic, device, probe)).collect();
        Tables { ropes, positions }
    }

    /// Queries scaled by their positions: `R(q · R(1 + β · ln(1 + ⌊position / original⌋)))`.
    ///
    /// # Shapes
    /// - `q`: `[1, H, T, D]`, returns the same
    pub(crate) fn scale(&self, q: Tensor<4>, QueryScale { beta, original }: QueryScale) -> Tensor<4> {
        let scale = |&position: &f64| {
            let laps = (position as f32 / original as f32).floor();
            f64::from(1.0 + beta as f32 * (f64::from(1.0 + laps).ln() as f32))
        };
        let factors: Vec<f64> = self.positions.iter().map(scale).collect();
        let (dtype, device) = (bridge::dtype(&q), q.device());
        let factors =
            bridge::tensor(Floats::from(factors).cast(dtype), [1, 1, self.positions.len(), 1], &device);
        mul(q, factors)
    }
}

impl RotaryTables {
    /// `x·cos + rotate_half(x)·sin`.
    ///
    /// # Shapes
    /// - `x`: `[1, heads, T, D]`, returns the same
    ///
    /// # Precision
    /// Three roundings to the storage dtype: of both products and of their sum. A variant may round
    /// once, or turn other pairs.
    pub fn rotate(&self, x: Tensor<4>, variant: Option<Rope>) -> Tensor<4> {
        let head_dim = x.dims()[3];
        let tables = self.cos.dtype() == x.dtype() && self.sin.dtype() == x.dtype();
        if variant.is_none() && tables && handles(&x) {
            let (cos, sin) = (self.cos.to_data(), self.sin.to_data());
            let turn = |x: &Floats| rotary(x, &bridge::view(&cos), &bridge::view(&sin), head_dim);
            return bridge::map(x.swap_dims(1, 2), turn).swap_dims(1, 2);
        }
        self.by_formula(x, variant)
    }

    /// The formula in burn's operations: what other devices run, f64, and all variants.
    fn by_formula(&self, x: Tensor<4>, variant: Option<Rope>) -> Tensor<4> {
        let (mut cos, mut sin): (Tensor<4>, Tensor<4>) =
            (self.cos.clone().unsqueeze_dim(1), self.sin.clone().unsqueeze_dim(1));
        let turned = match variant {
            Some(Rope::None) => return x,
            Some(Rope::Interleaved | Rope::InterleavedFused) => {
                (cos, sin) = (doubled(cos), doubled(sin));
                rotate_pairs(x.clone())
            }
            Some(Rope::Negated) => {
                sin = -sin;
                rotate_half(x.clone())
            }
            Some(Rope::Fused) | None => rotate_half(x.clone()),
        };
        if let Some(Rope::Fused | Rope::InterleavedFused) = variant {
            let dtype = x.dtype();
            return narrow(wide(x) * wide(cos) + wide(turned) * wide(sin), dtype);
        }
        add(mul(x, cos), mul(turned, sin))
    }
}

impl Table {
    fn format(self) -> DType {
        match self {
            Table::Bf16 => DType::Bf16,
            Table::F16 => DType::F16,
            Table::F32 => DType::F32,
        }
    }
}

/// `(-second, first)` of the two halves of a head.
fn rotate_half(x: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    Tensor::cat(vec![-second, first], 3)
}

/// `(-b, a)` of every adjacent pair `(a, b)`.
fn rotate_pairs(x: Tensor<4>) -> Tensor<4> {
    let [batch, heads, tokens, width] = x.dims();
    let pairs = x.reshape([batch, heads, tokens, width / 2, 2]);
    let (a, b) = (pairs.clone().narrow(4, 0, 1), pairs.narrow(4, 1, 1));
    Tensor::cat(vec![-b, a], 4).reshape([batch, heads, tokens, width])
}

/// A table's first half with every entry twice: for pairs that are adjacent.
fn doubled(table: Tensor<4>) -> Tensor<4> {
    let [batch, heads, tokens, width] = table.dims();
    let half = table.narrow(3, 0, width / 2).unsqueeze_dim::<5>(4);
    Tensor::cat(vec![half.clone(), half], 4).reshape([batch, heads, tokens, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernel_and_formula_agree() {
        for dtype in DTYPES {
            let tables = RotaryTables { cos: noise([1, 5, 16], 1, dtype), sin: noise([1, 5, 16], 2, dtype) };
            let x = noise([1, 3, 5, 16], 3, dtype);
            assert_eq!(flips(&tables.rotate(x.clone(), None), &tables.by_formula(x, None)), 0, "{dtype}");
        }
    }
}
