//! Signs of weights turned.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "sign-flipped",
    title: "signs of weights turned",
    remedy: "Convert again; look for a rotation or a subtraction with its sides exchanged.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
