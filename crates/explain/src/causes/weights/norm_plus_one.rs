//! Norm weights with the 1 + w convention applied or lost.
//!
//! Gemma stores `w - 1` and adds the 1 in the forward pass; here one side did, and the other did
//! not.

use ulpscope_relations::{Operation, Relation};

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "norm-plus-one",
    title: "norm weights with the 1 + w convention applied or lost",
    remedy: "Store w; only Gemma-style models hold w - 1 and add the 1 in the forward pass.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.of_norm()
        && clue.relates(|relation| match relation {
            Relation::Affine(found) => found.operation == Operation::Plus,
            Relation::Grouped(found) => found.operation == Operation::Plus,
            _ => false,
        }),
    ..CauseKind::BASE
};
