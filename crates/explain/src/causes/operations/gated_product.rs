//! Gate and up projections put together in another way.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "gated-product",
    title: "gate and up projections put together in another way",
    remedy: "The MLP is down_proj(act(gate_proj(x)) * up_proj(x)).",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
