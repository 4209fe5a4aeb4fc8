//! An activation that rounds its sigmoid.
//!
//! SiLU whose sigmoid is rounded before the product.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-rounding",
    title: "an activation that rounds its sigmoid",
    remedy: "Compute x * sigmoid(x) in f32 and round once.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Act(_))),
    example: Some(Example::Departure("act=rounded")),
    ..CauseKind::BASE
};
