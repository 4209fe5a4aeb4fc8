//! Another scaling of queries by position.
//!
//! Queries scaled by position (Ministral 3) with another beta.

use ulpscope_decoder::Field;

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "query-temperature",
    title: "another scaling of queries by position",
    remedy: "Take llama_4_scaling_beta and original_max_position_embeddings from the original's rope_parameters.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    test: |clue| clue.sets(Field::QueryScale),
    ..CauseKind::BASE
};
