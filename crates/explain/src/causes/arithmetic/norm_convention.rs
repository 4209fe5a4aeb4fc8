//! Norms that use their weight in another way.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-convention",
    title: "norms that use their weight in another way",
    remedy: "Multiply by w, not by 1 + w, and do not leave the weight out.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
