//! Infinity or NaN in a recording where ours is a number.
//!
//! One output overflowed, or was read before it was written.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-not-finite",
    title: "infinity or NaN where ours is a number",
    remedy: "Look for what overflows, divides by zero or is read before it is written there.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
