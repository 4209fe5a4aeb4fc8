//! Part of a weight is zero.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-partly-zero",
    title: "part of a weight is zero",
    remedy: "A shard or a slice was not copied; convert again and check that every byte of the file was written.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
