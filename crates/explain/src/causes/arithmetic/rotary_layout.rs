//! Rotation that pairs other elements, turns the other way, is missing or is done twice.
//!
//! Neighbouring elements turned together where halves belong, or the other way round.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-layout",
    title: "rotation that pairs other elements, turns the other way, is missing or is done twice",
    remedy: "Pair element i with i + D/2 for Hugging Face's weights; permute q and k rows for adjacent pairs.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Rope(_))),
    example: Some(Example::Departure("rope=interleaved")),
    ..CauseKind::BASE
};
