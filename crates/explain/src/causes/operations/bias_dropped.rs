//! A bias that was dropped.
//!
//! A loader that skips `q_proj.bias`, because its Llama has none.

use ulpscope_relations::{Description, Statement};

use crate::causes::{CauseKind, Rank, Scope, Severity};

/// A bias of zeros, which a model without biases is read as.
const NONE: Statement = Statement::Described(Description::Constant { value: 0.0 });

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "bias-dropped",
    title: "a bias that was dropped",
    remedy: "Read attention_bias and mlp_bias from config.json, and load the .bias tensors of the state dict.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    test: |clue| clue.of_bias() && clue.states(|statement| *statement == NONE),
    ..CauseKind::BASE
};
