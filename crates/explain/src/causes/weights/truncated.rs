//! Weights truncated instead of rounded to nearest.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-truncated",
    title: "weights truncated instead of rounded to nearest",
    remedy: "Round to nearest, ties to even, when converting f32 to bf16; dropping the lower sixteen bits biases every weight towards zero.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
