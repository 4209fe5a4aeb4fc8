//! Position ids rounded or shifted.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "positions",
    title: "position ids rounded or shifted",
    remedy: "Build position ids as integers and convert them to f32 for the angles.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
