//! A weight that is one number throughout.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-constant",
    title: "a weight that is one number throughout",
    remedy: "It was never loaded; check the names in the state dict for missing keys.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
