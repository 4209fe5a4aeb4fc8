//! One file a rule: what it says, how it is found, its words and its tests.
//!
//! A recogniser knows nothing of the others' rank: [`registry`](crate::registry) lists them in
//! order.

pub(crate) mod affine;
pub(crate) mod averaged;
pub(crate) mod clamped;
pub(crate) mod coded;
pub(crate) mod distance;
pub(crate) mod grouped;
pub(crate) mod layout;
pub(crate) mod low_rank;
pub(crate) mod mapped;
pub(crate) mod misread;
pub(crate) mod negated;
pub(crate) mod neighbours;
pub(crate) mod one_number;
pub(crate) mod outlier_lines;
pub(crate) mod overflowed;
pub(crate) mod partial;
pub(crate) mod quantised;
pub(crate) mod rotated;
pub(crate) mod rounded;
pub(crate) mod scaled;
pub(crate) mod signs;
pub(crate) mod ulps;
pub(crate) mod unchanged;
