//! Gate and up projections exchanged.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gate-and-up-exchanged",
    title: "gate and up projections exchanged",
    remedy: "Exchange gate_proj and up_proj; fused checkpoints store them in either order.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
