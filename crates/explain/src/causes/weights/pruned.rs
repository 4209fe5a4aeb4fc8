//! Small weights set to zero, as pruning does.
//!
//! Small weights, or two of every four, set to zero on purpose.

use ulpscope_relations::{Change, Zeros};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-pruned",
    title: "small weights set to zero, as pruning does",
    remedy: "Nothing is wrong if a sparse model was meant; magnitudes below a format's range are flushed by some converters.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Special,
    test: |clue| clue.changes_part(|change| {
        matches!(change, Change::Zero(Zeros::TwoOfFour | Zeros::Below(_) | Zeros::EachRow))
    }),
    example: Some(Example::Weight(|w| example::each(w, |_, x| if x.abs() < 0.3 { 0.0 } else { x }))),
    ..CauseKind::BASE
};
