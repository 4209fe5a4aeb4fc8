//! Dropout that is on.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "dropout-active",
    title: "dropout that is on",
    remedy: "Call model.eval() before anything is compared.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
