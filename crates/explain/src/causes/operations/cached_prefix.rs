//! Keys or values of a cached prefix that are not those of its tokens.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "cached-prefix",
    title: "keys or values of a cached prefix that are not those of its tokens",
    remedy: "Fill the cache anew, and look at what writes it: rotation, positions and slots.",
    severity: Severity::Defect,
    scope: Scope::PerClass,
    ..CauseKind::BASE
};
