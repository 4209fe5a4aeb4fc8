//! An activation, or part of one, that is zero.
//!
//! The first five tokens of an output are zero: padding that was taken for a mask.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-partly-zero",
    title: "an activation, or part of one, that is zero",
    remedy: "Look for what is skipped, masked or pruned there: padded tokens, heads, layers.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
