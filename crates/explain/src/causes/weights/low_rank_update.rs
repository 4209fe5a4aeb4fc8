//! Weights changed by an update of low rank, as by a merged adapter.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "low-rank-update",
    title: "weights changed by an update of low rank, as by a merged adapter",
    remedy: "Compare with the same adapter merged (once), or with the base checkpoint before merging.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
