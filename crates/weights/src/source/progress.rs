//! How a long download tells its caller where it is.

/// Receives the course of a download, one file after the other.
///
/// `start` comes first for each file, then any number of `advance`, then `finish`, which comes for
/// a failed download too. `()` ignores everything.
pub trait Progress {
    /// A transfer of `what` begins; `bytes` is its full size where that is known.
    fn start(&mut self, what: &str, bytes: Option<u64>);
    /// `bytes` more have arrived. What an earlier run had already fetched counts as arrived at
    /// once.
    fn advance(&mut self, bytes: u64);
    /// The transfer is over.
    fn finish(&mut self);
}

impl Progress for () {
    fn start(&mut self, _what: &str, _bytes: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
    fn finish(&mut self) {}
}
