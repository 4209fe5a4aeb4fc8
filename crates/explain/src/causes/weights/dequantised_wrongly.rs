//! Quantised weights decoded with wrong scales or zero points.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-dequantised-wrongly",
    title: "quantised weights decoded with wrong scales or zero points",
    remedy: "Pair each tensor with its own scales and zero points, in the order and direction of their groups; some formats store zero points minus one.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
