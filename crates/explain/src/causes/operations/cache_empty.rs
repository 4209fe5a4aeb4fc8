//! Keys or values of some positions that are zero.
//!
//! The slot of the last token was read before it was written: its keys are zero.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cache-empty",
    title: "keys or values of some positions that are zero",
    remedy: "Write keys and values into the cache before attention reads them, those of the last token, too.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
