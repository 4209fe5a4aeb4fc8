//! Norm weights with the 1 + w convention applied or lost.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-plus-one",
    title: "norm weights with the 1 + w convention applied or lost",
    remedy: "Store w; only Gemma-style models hold w - 1 and add the 1 in the forward pass.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
