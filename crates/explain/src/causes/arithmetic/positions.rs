//! Position ids rounded or shifted.
//!
//! Position ids that are shifted by one, or rounded to bf16.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "positions",
    title: "position ids rounded or shifted",
    remedy: "Build position ids as integers and convert them to f32 for the angles.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Positions(_))),
    example: Some(Example::Departure("positions=+1")),
    ..CauseKind::BASE
};
