//! Numbers beyond the range of f16.
//!
//! An activation beyond 65504 is infinite in f16, though not in bf16.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "f16-overflow",
    title: "numbers beyond the range of f16",
    remedy: "Run in bf16, keep the overflowing operation in f32, or scale queries before their product with keys.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
