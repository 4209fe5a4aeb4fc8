//! Small weights set to zero, as pruning does.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-pruned",
    title: "small weights set to zero, as pruning does",
    remedy: "Nothing is wrong if a sparse model was meant; magnitudes below a format's range are flushed by some converters.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
