//! An activation that rounds its sigmoid.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-rounding",
    title: "an activation that rounds its sigmoid",
    remedy: "Compute x * sigmoid(x) in f32 and round once.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
