//! Weights that went through a function: a root, a square, a reciprocal.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-mapped",
    title: "weights that went through a function: a root, a square, a reciprocal",
    remedy: "Store weights as they are; look at what the converter takes norms or scales for.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
