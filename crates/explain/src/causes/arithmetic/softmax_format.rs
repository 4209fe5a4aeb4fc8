//! A softmax that rounds at every step.
//!
//! A softmax that rounds each of its steps to the model's format.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "softmax-format",
    title: "a softmax that rounds at every step",
    remedy: "Compute the softmax in f32 and round its result.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Softmax(_))),
    example: Some(Example::Departure("softmax=storage")),
    ..CauseKind::BASE
};
