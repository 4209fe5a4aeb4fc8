//! Another scaling of the rotary frequencies.
//!
//! A config that lost `rope_scaling`, or one of its keys.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rope-scaling",
    title: "another scaling of the rotary frequencies",
    remedy: "Take rope_scaling (rope_parameters in transformers 5) from the original config.json, all of its keys.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
