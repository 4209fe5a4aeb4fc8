//! Logits in another format.
//!
//! Logits accumulated and kept in f32.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "logits-format",
    title: "logits in another format",
    remedy: "Compare logits in one format; upcasting after the product differs from accumulating wide.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Head(_))),
    example: Some(Example::Departure("head=f32")),
    ..CauseKind::BASE
};
