//! Weights rounded by another rule than to nearest.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded-otherwise",
    title: "weights rounded by another rule than to nearest",
    remedy: "Round to nearest, ties to even; stochastic rounding belongs into training only.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
