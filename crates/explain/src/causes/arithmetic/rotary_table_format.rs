//! Tables of cos and sin in another format.
//!
//! Tables of cos and sin in f16 where transformers keeps f32.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-table-format",
    title: "tables of cos and sin in another format",
    remedy: "Keep the tables in f32 and round to the model's dtype where transformers does.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Table(_))),
    example: Some(Example::Departure("table=f16")),
    ..CauseKind::BASE
};
