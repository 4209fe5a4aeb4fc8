//! Query and key rows in the other rotary layout.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "qk-permutation",
    title: "query and key rows in the other rotary layout",
    remedy: "Undo (or apply) the permutation between interleaved and half-split rotary layout, with the key heads' own number for k_proj.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
