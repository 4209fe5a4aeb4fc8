//! Another sliding window, or none.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "sliding-window",
    title: "another sliding window, or none",
    remedy: "Hide keys that are sliding_window tokens or more behind the query, in the layers that layer_types names.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
