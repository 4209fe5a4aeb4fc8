//! Gate and up projections exchanged.
//!
//! The activation goes to up, and gate is multiplied: a fused tensor read in the other order.

use ulpscope_decoder::{Variant, departure::Mlp};

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gate-and-up-exchanged",
    title: "gate and up projections exchanged",
    remedy: "Exchange gate_proj and up_proj; fused checkpoints store them in either order.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Mlp(Mlp::Swapped))),
    example: Some(Example::Departure("mlp=swapped")),
    ..CauseKind::BASE
};
