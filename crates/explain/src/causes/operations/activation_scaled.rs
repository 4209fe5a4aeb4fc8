//! An activation multiplied by a constant.
//!
//! A block whose output is halved: `b = 0.5*a`.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "activation-scaled",
    title: "an activation multiplied by a constant",
    remedy: "Look for a multiplier that one side applies (embedding, residual, attention or logit multipliers of Granite, Cohere, Gemma, muP): this model has none.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
