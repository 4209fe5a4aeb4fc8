//! Embeddings of the token ids beside.
//!
//! Row 18 of the embedding for token 17: ids that count from 1.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "token-ids-shifted",
    title: "embeddings of the token ids beside",
    remedy: "Ids count rows from 0; compare the sizes of the vocabularies, and what was inserted in front.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
