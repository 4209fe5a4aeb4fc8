//! Another format of weights and activations.
//!
//! One side computes in f16 where the other computes in bf16.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "compute-format",
    title: "another format of weights and activations",
    remedy: "Nothing is wrong if the format was meant; for a reference that rounds nowhere, run in f32 or f64.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
