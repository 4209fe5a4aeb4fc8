//! A gated product that rounds once.
//!
//! `silu(gate) * up` in one kernel, rounded once.

use ulpscope_decoder::{Variant, departure::Mlp};

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gate-rounding",
    title: "a gated product that rounds once",
    remedy: "Round the activation before it is multiplied, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Mlp(Mlp::Fused))),
    example: Some(Example::Departure("mlp=fused")),
    ..CauseKind::BASE
};
