//! Another factor on the attention scores.
//!
//! Scores without 1/sqrt(head_dim), or with it twice.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "attention-scale",
    title: "another factor on the attention scores",
    remedy: "Multiply scores by 1/sqrt(head_dim), once; undo a scale that was folded into q_proj.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Scale(_))),
    example: Some(Example::Departure("scale=none")),
    ..CauseKind::BASE
};
