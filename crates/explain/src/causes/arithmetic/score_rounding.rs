//! Scores that round elsewhere.
//!
//! Scores kept in f32 between product and softmax.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "score-rounding",
    title: "scores that round elsewhere",
    remedy: "Round scores before and after scaling as transformers' eager attention does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Scores(_))),
    example: Some(Example::Departure("scores=f32")),
    ..CauseKind::BASE
};
