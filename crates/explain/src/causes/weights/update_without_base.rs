//! A weight that is a matrix of low rank, as an adapter's update without the base.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "update-without-base",
    title: "a weight that is a matrix of low rank, as an adapter's update without the base",
    remedy: "Add an adapter's update to the weight that it was trained on.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
};
