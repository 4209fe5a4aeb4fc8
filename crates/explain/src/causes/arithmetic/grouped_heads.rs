//! Query heads that read other key and value heads.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "grouped-heads",
    title: "query heads that read other key and value heads",
    remedy: "Repeat each key and value head for its neighbours (repeat_interleave), not in turns (repeat).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
