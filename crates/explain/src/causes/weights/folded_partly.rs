//! Factors of a norm taken into some of the layers behind it, and not into all.
//!
//! A norm's weight taken into q and k, and not into v.

use crate::causes::{CauseKind, Rank, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "folded-partly",
    title: "factors of a norm taken into some of the layers behind it, and not into all",
    remedy: "Fold a norm's weight into every layer that reads its output (q, k and v; gate and up), or into none.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    rank: Rank::Special,
    ..CauseKind::BASE
};
