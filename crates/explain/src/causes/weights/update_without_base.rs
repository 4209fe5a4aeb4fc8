//! A weight that is a matrix of low rank, as an adapter's update without the base.
//!
//! An adapter's update stands where base plus update belongs.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Rank, Scope, Severity};
use crate::thresholds::NO_APPROXIMATION;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "update-without-base",
    title: "a weight that is a matrix of low rank, as an adapter's update without the base",
    remedy: "Add an adapter's update to the weight that it was trained on.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.states(|statement| {
        matches!(statement, Statement::Described(Description::Reduced { sqnr_db, .. }) if *sqnr_db < NO_APPROXIMATION)
    }),
    ..CauseKind::BASE
};
