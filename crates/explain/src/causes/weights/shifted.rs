//! A weight shifted by some elements.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-shifted",
    title: "a weight shifted by some elements",
    remedy: "The data offset is wrong; check the header's length and alignment.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
