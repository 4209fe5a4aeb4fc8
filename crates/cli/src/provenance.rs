//! What this binary was built from.

/// `0.1.0 (revision, backends)`, as `--version` prints it.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ULPSCOPE_GIT"), ")");

/// The git revision, or `unknown` outside a checkout.
pub(crate) const GIT: &str = env!("ULPSCOPE_GIT");
