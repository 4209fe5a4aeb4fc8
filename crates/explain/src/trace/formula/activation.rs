//! Activation functions that our Llama does not have, and what follows them in another format.

use ulpscope_decoder::Op;
use ulpscope_floats::DType;

use ulpscope_record::Finding;

use super::numbers::{sigmoid, silu};
use super::{At, Case, Formula, Role, cast, found, in_format};
use crate::causes;

type OfOne = (&'static str, fn(f64) -> f64);

/// Functions of one number, by name.
const KNOWN: [OfOne; 6] = [
    ("relu", |x| x.max(0.0)),
    ("relu squared", |x| x.max(0.0).powi(2)),
    ("tanh", f64::tanh),
    ("mish", |x| x * x.exp().ln_1p().tanh()),
    ("softplus", |x| x.exp().ln_1p()),
    ("hardswish", |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
];

/// Functions of one number that have a rule of their own.
const RULES: [OfOne; 3] =
    [("quick-gelu", |x| x * sigmoid(1.702 * x)), ("glu", sigmoid), ("no-activation", |x| x)];

/// At the activation of the gate.
pub(super) fn activation(at: &At) -> Option<Formula> {
    let gives = |f: &dyn Fn(f64) -> f64| at.explains(|case| of_gate(at, case, f));
    if let Some((name, _)) = KNOWN.iter().find(|(_, f)| gives(f)) {
        return found(causes::ACTIVATION, Finding::new("activation").with("name", *name));
    }
    if let Some((rule, _)) = RULES.iter().find(|(_, f)| gives(f)) {
        return found(causes::ACTIVATION, Finding::new(rule));
    }
    let swish = |beta: f64, case: &Case| of_gate(at, case, &|x| x * sigmoid(beta * x));
    let beta = at.best([0.1, 10.0], swish);
    let finding = Finding::new("swish").with("beta", beta);
    at.explains(|case| swish(beta, case)).then_some(Formula { kind: causes::ACTIVATION, finding })
}

/// A function of what was recorded at a site of the block and of the up projection.
pub(crate) fn with_up(at: &At, case: &Case, role: Role, f: &dyn Fn(f64, f64) -> f64) -> Option<Vec<f64>> {
    let (x, y) = (at.read(case, role)?, at.read(case, Role::Up)?);
    Some(x.into_iter().zip(y).map(|(x, y)| f(x, y)).collect())
}

/// The up projection cut off at a largest magnitude before the product.
pub(super) fn clamped(at: &At) -> Option<Formula> {
    let cut = |most: f64, case: &Case| with_up(at, case, Role::Act, &|x, y| x * y.clamp(-most, most));
    let most = at.best([1e-3, 100.0], cut);
    let finding = Finding::new("up-cut-off").with("most", most);
    at.explains(|case| cut(most, case)).then_some(Formula { kind: causes::OUTPUT_CLAMPED, finding })
}

/// A function of the gate.
fn of_gate(at: &At, case: &Case, f: &dyn Fn(f64) -> f64) -> Option<Vec<f64>> {
    Some(at.read(case, Role::Gate)?.into_iter().map(f).collect())
}

/// What ours computes, in another format.
pub(super) fn narrow(at: &At) -> Option<Formula> {
    let formula = |case: &Case| match at.site.op() {
        Op::Act => of_gate(at, case, &silu),
        _ => with_up(at, case, Role::Act, &|x, y| x * y),
    };
    let formats = [DType::F16, DType::Bf16].into_iter().filter(|dtype| *dtype != at.own);
    let narrower = formats.into_iter().find(|&dtype| at.reproduces(|case| Some(cast(formula(case)?, dtype))));
    found(causes::COMPUTED_OTHERWISE, in_format("computed-in", narrower?))
}
