//! Zeros of another sign.
//!
//! A kernel that begins a sum at +0 never gives -0; one that begins with a product may.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "zero-sign",
    title: "zeros of another sign",
    remedy: "Nothing to mend: as numbers the two are equal, unless something divides by them.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
