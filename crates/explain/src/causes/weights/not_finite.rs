//! NaN or infinity in weights.
//!
//! NaN or infinity throughout, or in rows: memory that was never filled.

use ulpscope_relations::{Change, Description, Statement};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-not-finite",
    title: "NaN or infinity in weights",
    remedy: "Convert again, in a format with more range; look for uninitialised memory.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(Description::NotFinite { .. })))
        || clue.excepts(|change| matches!(change, Change::NotFinite)),
    example: Some(Example::Weight(|w| example::each(w, |_, _| f32::NAN))),
    ..CauseKind::BASE
};
