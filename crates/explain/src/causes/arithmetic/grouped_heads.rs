//! Query heads that read other key and value heads.
//!
//! Query heads that take key and value heads in turns (`repeat`) and not in blocks
//! (`repeat_interleave`).

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "grouped-heads",
    title: "query heads that read other key and value heads",
    remedy: "Repeat each key and value head for its neighbours (repeat_interleave), not in turns (repeat).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Gqa(_))),
    example: Some(Example::Departure("gqa=tiled")),
    ..CauseKind::BASE
};
