//! What the metadata of a trace say otherwise than what it was compared with.

use serde::{Deserialize, Serialize};

/// One entry of a trace's `__metadata__` that contradicts what the trace was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContradictedClaim {
    /// The trace, as given.
    pub trace: String,
    /// The key: `recipe`, `attention`, `accumulation`, `variants`, `prompt` or `sha256:FILE`.
    pub key: String,
    /// What the trace says.
    pub said: String,
    /// What it was compared with.
    pub compared_with: String,
}
