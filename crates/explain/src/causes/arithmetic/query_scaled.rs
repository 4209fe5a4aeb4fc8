//! Queries scaled before their product with keys.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "query-scaled",
    title: "queries scaled before their product with keys",
    remedy: "Nothing is wrong; scale the scores after the product to get transformers' roundings.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
};
