//! Part of a weight is zero.
//!
//! Rows, columns or a block of zeros: a shard that was not copied.

use ulpscope_relations::{Change, Relation, Zeros};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-partly-zero",
    title: "part of a weight is zero",
    remedy: "A shard or a slice was not copied; convert again and check that every byte of the file was written.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.relates(|relation| match relation {
        // One element can become zero by chance; several were not copied.
        Relation::Few(few) => few.changed.len() > 1 && few.changed.iter().all(|c| c.to == 0.0),
        _ => false,
    }) || clue.changes_part(|change| matches!(change, Change::Zero(Zeros::Place)))
        || clue.excepts(|change| matches!(change, Change::Zero(_))),
    example: Some(Example::Weight(|w| example::each(w, |i, x| if i < 320 { 0.0 } else { x }))),
    ..CauseKind::BASE
};
