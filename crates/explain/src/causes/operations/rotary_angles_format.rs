//! Rotary angles computed in 16 bits.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-angles-format",
    title: "rotary angles computed in 16 bits",
    remedy: "Multiply positions and inv_freq in f32 (autocast off), and round only cos and sin.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
