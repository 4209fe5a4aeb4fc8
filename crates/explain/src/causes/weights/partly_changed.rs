//! Part of a weight changed.
//!
//! Some rows or columns follow another rule than the rest.

use ulpscope_relations::{Description, Relation, Statement};

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-partly-changed",
    title: "part of a weight changed",
    remedy: "Convert again; look at how the tensor is split and put together.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Fallback,
    test: |clue| clue.states(|statement| {
        matches!(
            statement,
            Statement::Exact(Relation::Partial(_)) | Statement::Described(Description::Except { .. })
        )
    }),
    ..CauseKind::BASE
};
