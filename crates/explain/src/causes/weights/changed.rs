//! Weights changed by something like noise.
//!
//! Weights changed by something like noise: a fine-tuning, or a quantisation whose grid is not
//! known.

use ulpscope_relations::Statement;

use crate::causes::{CauseKind, Example, Rank, Scope, Severity, example};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "weights-changed",
    title: "weights changed by something like noise",
    remedy: "The two come from different weights: a fine-tuning, a merged adapter, or a quantisation whose grid is not known.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    rank: Rank::Fallback,
    test: |clue| clue.states(|statement| matches!(statement, Statement::Described(_))),
    example: Some(Example::Weight(|w| example::each(w, |i, x| x + 0.02 * ((i * 31 % 17) as f32 - 8.0) / 8.0))),
    ..CauseKind::BASE
};
