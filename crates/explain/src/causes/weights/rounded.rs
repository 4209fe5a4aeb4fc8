//! Weights rounded to a narrower format.
//!
//! Parameters kept in fewer bits: bf16 in place of f32, as every converted checkpoint has them.

use ulpscope_floats::DType;
use ulpscope_relations::Relation;

use crate::causes::{CauseKind, Example, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-rounded",
    title: "weights rounded to a narrower format",
    remedy: "Convert from the widest checkpoint there is, once; nothing is wrong if the narrower format was meant.",
    severity: Severity::Choice,
    scope: Scope::PerClass,
    test: |clue| clue.relates(|relation| {
        matches!(relation, Relation::Identical | Relation::SameValues | Relation::Rounded { .. })
    }),
    example: Some(Example::Weight(|w| example::to(w, |a| a.cast(DType::Bf16)))),
    ..CauseKind::BASE
};
