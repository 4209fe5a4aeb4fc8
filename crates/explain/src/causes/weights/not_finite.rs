//! NaN or infinity in weights.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-not-finite",
    title: "NaN or infinity in weights",
    remedy: "Convert again, in a format with more range; look for uninitialised memory.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
