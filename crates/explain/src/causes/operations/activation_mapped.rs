//! An activation that went through a function.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-mapped",
    title: "an activation that went through a function",
    remedy: "Look for an activation function behind this operation that this model has elsewhere, or nowhere.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
