//! Tensors under each other's names.
//!
//! Two tensors under each other's names: a wrong entry in a map of names.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "tensors-exchanged",
    title: "tensors under each other's names",
    remedy: "Check the map of names between the two layouts.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
