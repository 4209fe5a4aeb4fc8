//! Another base of the rotary frequencies.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rope-theta",
    title: "another base of the rotary frequencies",
    remedy: "Take rope_theta from the original config.json; a missing key means 10000 to most loaders.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
