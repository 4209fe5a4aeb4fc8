//! The activations of the feed-forward layer that checkpoints name in `hidden_act`.

use std::fmt;

use burn::tensor::{DType, Tensor};
use ulpscope_kernels::{bridge, handles, silu, silu_up};

use crate::departure::Act;
use crate::ops::{add, map, mul, narrow, scale, wide};

/// `hidden_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x · (1 + erf(x / √2)) / 2`.
    Gelu,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2` in one fused operation, as
    /// `torch.nn.functional.gelu` has it.
    GeluTanh,
    /// The same formula as separate operations, each rounded to the storage dtype.
    GeluNew,
}

impl Activation {
    /// The names that [`Activation::from_name`] knows.
    pub const NAMES: [&str; 5] = ["silu", "swish", "gelu", "gelu_pytorch_tanh", "gelu_new"];

    /// The activation that `config.json` calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Activation::Silu),
            "gelu" => Some(Activation::Gelu),
            "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            "gelu_new" => Some(Activation::GeluNew),
            _ => None,
        }
    }

    /// The name that config.json has for it.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
            Activation::GeluNew => "gelu_new",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Activation {
    /// The activation of every element, `[1, T, F]`.
    ///
    /// # Precision
    /// Computed in f32 (f64 for f64) and rounded once to the storage dtype; [`Activation::GeluNew`]
    /// is written with separate operations in transformers and rounds after each.
    pub(crate) fn forward(self, x: Tensor<3>, variant: Option<Act>) -> Tensor<3> {
        if let (Activation::Silu, Some(Act::Rounded)) = (self, variant) {
            let dtype = x.dtype();
            let sigmoid = narrow((map(-wide(x.clone()), f64::exp) + 1.0).recip(), dtype);
            return mul(x, sigmoid);
        }
        if self == Activation::Silu && handles(&x) {
            return bridge::map(x, silu);
        }
        self.by_formula(x)
    }

    /// The activation in the compute dtype, before it is rounded to the dtype of `x`. Where a
    /// formula itself rounds in between, so does this.
    pub(crate) fn unrounded(self, x: Tensor<3>, variant: Option<Act>) -> Tensor<3> {
        let rounds = self == Activation::GeluNew || (self == Activation::Silu && variant.is_some());
        if rounds { wide(self.forward(x, variant)) } else { self.forward(wide(x), None) }
    }

    /// The formula in burn's operations: what other devices run, f64, and activations without a
    /// kernel.
    fn by_formula(self, x: Tensor<3>) -> Tensor<3> {
        let dtype = x.dtype();
        match self {
            Activation::Silu => {
                let x = wide(x);
                // f32's `exp` must overflow where PyTorch's does, so that large negative inputs
                // give -0.
                let denominator = map(-x.clone(), f64::exp) + 1.0;
                narrow(x / denominator, dtype)
            }
            Activation::Gelu => {
                let x = wide(x);
                let scaled = x.clone() * std::f64::consts::FRAC_1_SQRT_2;
                let erf = match dtype {
                    DType::F64 => map(scaled, libm::erf),
                    _ => map(scaled, |x| f64::from(erf(x as f32))),
                };
                narrow(x * 0.5 * (erf + 1.0), dtype)
            }
            Activation::GeluTanh => {
                let x = wide(x);
                let inner = (x.clone() + x.clone() * x.clone() * x.clone() * 0.044715) * SQRT_2_OVER_PI;
                narrow(x * 0.5 * (map(inner, f64::tanh) + 1.0), dtype)
            }
            Activation::GeluNew => {
                // `torch.pow(x, 3)` multiplies twice in bf16, rounding twice, and computes in f32
                // for f16.
                let cube = match dtype {
                    DType::BF16 => mul(mul(x.clone(), x.clone()), x.clone()),
                    _ => narrow(map(wide(x.clone()), |x| x * x * x), dtype),
                };
                let sum = add(x.clone(), scale(cube, 0.044715));
                let tanh = narrow(map(wide(scale(sum, SQRT_2_OVER_PI)), f64::tanh), dtype);
                mul(scale(x, 0.5), narrow(wide(tanh) + 1.0, dtype))
            }
        }
    }
}

impl Activation {
    /// `act(gate) · up`, the activation rounded before it is multiplied: in one pass where a kernel
    /// can.
    pub(crate) fn gate(self, gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
        if self == Activation::Silu && handles(&gate) {
            let up = up.into_data();
            return bridge::map(gate, |gate| silu_up(gate, &bridge::view(&up)));
        }
        mul(self.forward(gate, None), up)
    }
}

/// `√(2 / π)`.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// The error function as PyTorch's vectorised CPU code has it: formula 7.1.26 of Abramowitz and
/// Stegun in f32, absolute error up to 1.5e-7. The exact function differs in `1 + erf(x)` for
/// negative x, where it cancels.
fn erf(x: f32) -> f32 {
    const P: f32 = 0.327_591_1;
    const C: [f32; 5] = [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152_1, 1.061_405_4];
    let t = 1.0 / P.mul_add(x.abs(), 1.0);
    let r = C[4].mul_add(t, C[3]).mul_add(t, C[2]).mul_add(t, C[1]).mul_add(t, C[0]);
    let exp = f64::from(-(x * x)).exp() as f32;
    (-exp * t).mul_add(r, 1.0).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DTYPES, flips, noise};

    #[test]
    fn kernel_and_formula_agree() {
        for dtype in DTYPES {
            let (x, up) = (noise([1, 64, 33], 1, dtype), noise([1, 64, 33], 2, dtype));
            let formula = Activation::Silu.by_formula(x.clone());
            // PyTorch's exponential, which the kernel has, is within an ulp of the nearest f32.
            let allowed = if dtype == ulpscope_floats::DType::F32 { 600 } else { 1 };
            assert!(flips(&Activation::Silu.forward(x.clone(), None), &formula) <= allowed, "{dtype}");
            let product = mul(Activation::Silu.forward(x.clone(), None), up.clone());
            assert_eq!(flips(&Activation::Silu.gate(x, up), &product), 0, "{dtype}");
        }
    }
}
