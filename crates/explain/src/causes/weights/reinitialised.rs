//! A weight that has nothing to do with the original.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-reinitialised",
    title: "a weight that has nothing to do with the original",
    remedy: "Look whether it was loaded at all (the loader's list of missing and unexpected keys), and whether it is another tensor under this name.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
