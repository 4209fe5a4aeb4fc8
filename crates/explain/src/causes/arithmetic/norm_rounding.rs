//! Norms that round elsewhere.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-rounding",
    title: "norms that round elsewhere",
    remedy: "Round the normalised value to the storage dtype before the weight is applied, as transformers does, or accept the noise.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
