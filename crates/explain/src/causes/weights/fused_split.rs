//! A fused tensor split at the wrong rows.
//!
//! A fused qkv or gate_up tensor split at the wrong rows.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "fused-split",
    title: "a fused tensor split at the wrong rows",
    remedy: "Split qkv and gate_up as they were fused: in whole blocks, by group of heads, or by shard.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
