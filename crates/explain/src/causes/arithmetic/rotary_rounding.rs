//! Rotation that rounds once instead of three times.
//!
//! A fused rotation rounds once instead of three times.

use ulpscope_decoder::{Variant, departure::Rope};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-rounding",
    title: "rotation that rounds once instead of three times",
    remedy: "Round both products and the sum, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Rope(Rope::Fused))),
    example: Some(Example::Departure("rope=fused")),
    ..CauseKind::BASE
};
