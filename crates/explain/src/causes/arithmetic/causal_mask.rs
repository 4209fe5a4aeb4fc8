//! A causal mask that hides or shows other keys.
//!
//! A mask off by one: a query sees the next token, or not itself.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "causal-mask",
    title: "a causal mask that hides or shows other keys",
    remedy: "A query sees itself and what came before: check the mask's diagonal and its alignment with the cache.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Mask(_))),
    example: Some(Example::Departure("mask=ahead")),
    ..CauseKind::BASE
};
