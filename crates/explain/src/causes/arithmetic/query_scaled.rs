//! Queries scaled before their product with keys.
//!
//! The factor goes to the queries before their product with keys, as vLLM has it.

use ulpscope_decoder::{Variant, departure::Scale};

use crate::causes::{CauseKind, Example, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "query-scaled",
    title: "queries scaled before their product with keys",
    remedy: "Nothing is wrong; scale the scores after the product to get transformers' roundings.",
    severity: Severity::Choice,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.departs(|variant| matches!(variant, Variant::Scale(Scale::Query))),
    example: Some(Example::Departure("scale=query")),
    ..CauseKind::BASE
};
