//! Heads that are the mean of several, as conversions to grouped heads make them.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "heads-averaged",
    title: "heads that are the mean of several, as conversions to grouped heads make them",
    remedy: "Nothing is wrong if the heads were to be pooled and the model is trained on; otherwise keep them apart.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
