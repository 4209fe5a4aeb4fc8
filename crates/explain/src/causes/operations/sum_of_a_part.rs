//! A linear layer that sums a part of its inputs only.
//!
//! Tensor parallelism without its all-reduce: the sum of half of the inputs.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "sum-of-a-part",
    title: "a linear layer that sums a part of its inputs only",
    remedy: "Add up what all ranks of a tensor-parallel layer compute (the all-reduce behind o_proj and down_proj).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
