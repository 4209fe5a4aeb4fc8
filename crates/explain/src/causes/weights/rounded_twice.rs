//! Weights rounded twice, by way of f16.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded-twice",
    title: "weights rounded twice, by way of f16",
    remedy: "Convert the original f32 weights directly; a stop at f16 also loses range.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
