//! Another order of summation.
//!
//! Two kernels add the same products in another order: AMX, AVX-512, a GPU, another batch.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "summation-order",
    title: "another order of summation",
    remedy: "Nothing to mend: two honest kernels differ by this much. Name the order on both sides to remove it.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
