//! Another base of the rotary frequencies.
//!
//! A config without `rope_theta`, which most loaders read as 10000.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rope-theta",
    title: "another base of the rotary frequencies",
    remedy: "Take rope_theta from the original config.json; a missing key means 10000 to most loaders.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
