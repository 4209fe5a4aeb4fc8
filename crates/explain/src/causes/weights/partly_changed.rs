//! Part of a weight changed.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-partly-changed",
    title: "part of a weight changed",
    remedy: "Convert again; look at how the tensor is split and put together.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
