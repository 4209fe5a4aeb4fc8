//! Rows or columns of a weight in another order.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "rows-permuted",
    title: "rows or columns of a weight in another order",
    remedy: "Convert again; look at how the tensor is split into heads or shards and put together.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
};
