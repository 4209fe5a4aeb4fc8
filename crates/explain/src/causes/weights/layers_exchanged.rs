//! Whole layers under other numbers.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "layers-exchanged",
    title: "whole layers under other numbers",
    remedy: "Check where layers are numbered from when names are mapped, and that every shard was read once.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
