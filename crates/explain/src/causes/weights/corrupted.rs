//! A few elements of a weight changed.
//!
//! A few elements changed: a flipped bit in storage or memory.

use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weight-corrupted",
    title: "a few elements of a weight changed",
    remedy: "Copy the file again and compare its checksum; a single flipped bit is a storage or memory error.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.relates(|relation| matches!(relation, Relation::Few(_))),
    example: Some(Example::Weight(|w| example::each(w, |i, x| if i == 40 { -x } else { x }))),
    ..CauseKind::BASE
};
