//! Functions or sums (exp, rsqrt, cos, a mean) whose last bits are others.
//!
//! The same exponential in another library: a few elements are off by one step.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "function-last-bits",
    title: "functions or sums (exp, rsqrt, cos, a mean) whose last bits are others",
    remedy: "Nothing to mend: two honest libraries differ by this much.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
