//! A norm that reads the residual sum before it is rounded.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-of-unrounded-sum",
    title: "a norm that reads the residual sum before it is rounded",
    remedy: "No fault: fused kernels add and normalise in one step (vLLM, torch.compile); to compare bits, add and normalise apart.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
