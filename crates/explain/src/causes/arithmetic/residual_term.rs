//! A term of the residual stream that is missing.
//!
//! A block that does not add its input.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "residual-term",
    title: "a term of the residual stream that is missing",
    remedy: "Add the block's input after attention and after the feed-forward layer.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Residual(_))),
    example: Some(Example::Departure("residual=skip-mlp")),
    ..CauseKind::BASE
};
