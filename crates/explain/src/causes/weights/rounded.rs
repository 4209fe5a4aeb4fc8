//! Weights rounded to a narrower format.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded",
    title: "weights rounded to a narrower format",
    remedy: "Convert from the widest checkpoint there is, once; nothing is wrong if the narrower format was meant.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
};
