//! Tensors under each other's names.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "tensors-exchanged",
    title: "tensors under each other's names",
    remedy: "Check the map of names between the two layouts.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
