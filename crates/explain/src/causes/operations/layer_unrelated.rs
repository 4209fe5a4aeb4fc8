//! A layer whose output has nothing to do with ours: weights that were not loaded, most likely.
//!
//! A head that was not in the checkpoint, and was initialised at random.

use crate::causes::{CauseKind, Scope, Severity};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "layer-unrelated",
    title: "a layer whose output has nothing to do with ours: weights that were not loaded, most likely",
    remedy: "Look whether the weight was loaded (the loader's list of missing and unexpected keys); if it was, at what the layer reads and what is done to its output.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};
