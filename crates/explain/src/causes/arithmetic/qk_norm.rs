//! Norms of queries and keys that are missing, or over all heads at once.
//!
//! Norms of queries and keys that are left out, or go over all heads at once.

use ulpscope_decoder::Variant;

use crate::causes::{CauseKind, Example, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "qk-norm",
    title: "norms of queries and keys that are missing, or over all heads at once",
    remedy: "Normalise each head by itself, with its weight of head_dim numbers, after q_proj and k_proj and before rotation.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::QkNorm(_))),
    example: Some(Example::Departure("qk_norm=none")),
    ..CauseKind::BASE
};
