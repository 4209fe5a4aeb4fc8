//! A few elements of a weight changed.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-corrupted",
    title: "a few elements of a weight changed",
    remedy: "Copy the file again and compare its checksum; a single flipped bit is a storage or memory error.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
