//! Another implementation of attention.
//!
//! `eager` and `sdpa` round elsewhere: between scores, softmax and values.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "attention-implementation",
    title: "another implementation of attention",
    remedy: "Compare with the same attn_implementation on both sides, or accept the noise of the two declared roundings.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
