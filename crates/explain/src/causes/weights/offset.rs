//! A constant added to weights.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-offset",
    title: "a constant added to weights",
    remedy: "Check zero points, which some formats store minus one.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
