//! A causal mask that hides or shows other keys.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "causal-mask",
    title: "a causal mask that hides or shows other keys",
    remedy: "A query sees itself and what came before: check the mask's diagonal and its alignment with the cache.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
