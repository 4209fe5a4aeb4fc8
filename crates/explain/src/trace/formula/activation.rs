//! Activation functions that our Llama does not have, and what follows them in another format.

use ulpscope_floats::DType;

use super::numbers::{sigmoid, silu, text};
use super::{At, Case, Formula, Role, cast};
use crate::causes;

type OfOne = (&'static str, fn(f64) -> f64);
type OfTwo = (&'static str, fn(f64, f64) -> f64);

/// Functions of one number.
const KNOWN: [OfOne; 9] = [
    ("relu", |x| x.max(0.0)),
    ("relu squared", |x| x.max(0.0).powi(2)),
    ("quick_gelu, x·sigmoid(1.702·x)", |x| x * sigmoid(1.702 * x)),
    ("sigmoid, as in GLU", sigmoid),
    ("tanh", f64::tanh),
    ("mish", |x| x * x.exp().ln_1p().tanh()),
    ("softplus", |x| x.exp().ln_1p()),
    ("hardswish", |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
    ("no activation: its input", |x| x),
];

/// At the activation of the gate.
pub(super) fn activation(at: &At) -> Option<Formula> {
    let of = |case: &Case, f: &dyn Fn(f64) -> f64| -> Option<Vec<f64>> {
        Some(at.read(case, Role::Gate)?.into_iter().map(f).collect())
    };
    if let Some(found) = otherwise(at, |case| of(case, &silu)) {
        return Some(found);
    }
    if at.explains(|case| with_up(at, case, Role::Gate, &|x, y| silu(x * y))) {
        return Formula::new(causes::GATED_PRODUCT, "the activation of gate · up");
    }
    if let Some((name, _)) = KNOWN.iter().find(|(_, f)| at.explains(|case| of(case, f))) {
        return Formula::new(causes::ACTIVATION, *name);
    }
    let swish = |beta: f64, case: &Case| of(case, &|x| x * sigmoid(beta * x));
    let beta = at.best([0.1, 10.0], swish);
    at.explains(|case| swish(beta, case))
        .then(|| Formula { fault: causes::ACTIVATION, said: format!("x·sigmoid({}·x)", text(beta)) })
}

/// At the product of activation and up projection.
pub(super) fn product(at: &At) -> Option<Formula> {
    let of = |case: &Case, f: &dyn Fn(f64, f64) -> f64| with_up(at, case, Role::Act, f);
    otherwise(at, |case| of(case, &|x, y| x * y)).or_else(|| clamped(at)).or_else(|| {
        let (said, _) = PRODUCTS.into_iter().find(|(_, f)| at.gives(|case| of(case, f)))?;
        Formula::new(causes::GATED_PRODUCT, said)
    })
}

/// A function of what was recorded at a site of the block and of the up projection.
fn with_up(at: &At, case: &Case, role: Role, f: &dyn Fn(f64, f64) -> f64) -> Option<Vec<f64>> {
    let (x, y) = (at.read(case, role)?, at.read(case, Role::Up)?);
    Some(x.into_iter().zip(y).map(|(x, y)| f(x, y)).collect())
}

/// The up projection cut off at a largest magnitude before the product.
fn clamped(at: &At) -> Option<Formula> {
    let cut = |most: f64, case: &Case| with_up(at, case, Role::Act, &|x, y| x * y.clamp(-most, most));
    let most = at.best([1e-3, 100.0], cut);
    at.explains(|case| cut(most, case)).then(|| Formula {
        fault: causes::OUTPUT_CLAMPED,
        said: format!("up_proj cut off at {}", text(most)),
    })
}

/// What else is made of the activation of the gate and the up projection.
const PRODUCTS: [OfTwo; 4] = [
    ("the activation alone, without up_proj", |x, _| x),
    ("up_proj alone, without the gate", |_, y| y),
    ("act · (up + 1)", |x, y| x * (y + 1.0)),
    ("act + up", |x, y| x + y),
];

/// What ours computes, in another format.
fn otherwise(at: &At, formula: impl Fn(&Case) -> Option<Vec<f64>>) -> Option<Formula> {
    let formats = [DType::F16, DType::Bf16].into_iter().filter(|dtype| *dtype != at.own);
    let found = formats.into_iter().find(|&dtype| at.reproduces(|case| Some(cast(formula(case)?, dtype))));
    found.and_then(|dtype| Formula::new(causes::COMPUTED_OTHERWISE, format!("computed in {dtype}")))
}
