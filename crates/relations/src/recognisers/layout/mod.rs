//! The same numbers in other places, one kind of rearrangement a file.

pub(crate) mod aligned;
mod matched;
pub(crate) mod permuted;
pub(crate) mod shards;
pub(crate) mod shifted;
#[cfg(test)]
mod tests;
pub(crate) mod transposed;
