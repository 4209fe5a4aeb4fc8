//! Gate and up projections put together in another way.
//!
//! A port that multiplies before it activates has `silu(gate · up)` where `silu(gate) · up`
//! belongs.

use ulpscope_decoder::{Op, Role};
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::activation::with_up;
use crate::trace::formula::at::At;
use crate::trace::formula::numbers::silu;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gated-product",
    title: "gate and up projections put together in another way",
    remedy: "The MLP is down_proj(act(gate_proj(x)) * up_proj(x)).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Act | Op::Mul), find };

type OfTwo = (&'static str, fn(f64, f64) -> f64);

/// What else is made of the activation of the gate and the up projection.
const PRODUCTS: [OfTwo; 4] = [
    ("gate-alone", |x, _| x),
    ("up-alone", |_, y| y),
    ("up-plus-one", |x, y| x * (y + 1.0)),
    ("gate-plus-up", |x, y| x + y),
];

fn find(at: &At) -> Option<Finding> {
    if at.site.op() == Op::Act {
        let of_product = at.explains(|case| with_up(at, case, Role::Gate, &|x, y| silu(x * y)));
        return of_product.then(|| Finding::new("activation-of-product"));
    }
    let (rule, _) =
        PRODUCTS.into_iter().find(|(_, f)| at.gives(|case| with_up(at, case, Role::Act, f)))?;
    Some(Finding::new(rule))
}
