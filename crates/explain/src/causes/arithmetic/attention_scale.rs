//! Another factor on the attention scores.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "attention-scale",
    title: "another factor on the attention scores",
    remedy: "Multiply scores by 1/sqrt(head_dim), once; undo a scale that was folded into q_proj.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
