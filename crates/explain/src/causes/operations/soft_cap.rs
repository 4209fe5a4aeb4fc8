//! Scores or logits bent towards a largest magnitude by tanh.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "soft-cap",
    title: "scores or logits bent towards a largest magnitude by tanh",
    remedy: "This model has no attn_logit_softcapping and no final_logit_softcapping (Gemma 2 has): load the config into the class that it belongs to.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
