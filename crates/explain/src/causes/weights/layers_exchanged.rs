//! Whole layers under other numbers.
//!
//! Whole layers under other numbers: counted from 1, or a shard that was read twice.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "layers-exchanged",
    title: "whole layers under other numbers",
    remedy: "Check where layers are numbered from when names are mapped, and that every shard was read once.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
