//! A weight transposed.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-transposed",
    title: "a weight transposed",
    remedy: "Linear weights are [out, in] in PyTorch, [in, out] elsewhere; transpose exactly once.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
