//! Another sliding window, or none.
//!
//! A window that one side ignores, or another width of it.

use ulpscope_decoder::Field;

use crate::causes::{CauseKind, Example, Rank, Scope, Severity};
use super::is_of_windows;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "sliding-window",
    title: "another sliding window, or none",
    remedy: "Hide keys that are sliding_window tokens or more behind the query, in the layers that layer_types names.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.sets(Field::Mask) || clue.departs_in(is_of_windows),
    example: Some(Example::Departure("mask=causal")),
    ..CauseKind::BASE
};
