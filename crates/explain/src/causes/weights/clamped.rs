//! Weights cut off at a largest magnitude.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-clamped",
    title: "weights cut off at a largest magnitude",
    remedy: "Do not clamp when converting, or use a format with more range.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
