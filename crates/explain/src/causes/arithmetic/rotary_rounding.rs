//! Rotation that rounds once instead of three times.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rotary-rounding",
    title: "rotation that rounds once instead of three times",
    remedy: "Round both products and the sum, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
