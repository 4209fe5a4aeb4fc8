//! A softmax of another kind.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "softmax-kind",
    title: "a softmax of another kind",
    remedy: "Probabilities sum to 1 here; attention sinks and softmax-one belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
