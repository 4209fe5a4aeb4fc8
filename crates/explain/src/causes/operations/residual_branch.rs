//! A branch that is added to the residual stream otherwise: multiplied, or elsewhere.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "residual-branch",
    title: "a branch that is added to the residual stream otherwise: multiplied, or elsewhere",
    remedy: "This model adds attention and MLP as they are; residual multipliers (Granite, MiniCPM) belong to other architectures.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
