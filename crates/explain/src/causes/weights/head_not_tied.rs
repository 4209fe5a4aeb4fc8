//! An output layer that is tied on one side only, or was never loaded.
//!
//! An output layer that is tied to the embeddings on one side only, or was never loaded.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "head-not-tied",
    title: "an output layer that is tied on one side only, or was never loaded",
    remedy: "Set tie_word_embeddings as the original has it, and store lm_head.weight where it is not tied.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.of_head() && clue.states(|statement| matches!(statement, Statement::Described(Description::Unrelated { .. }))),
    ..CauseKind::BASE
};
