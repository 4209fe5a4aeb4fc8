//! What this binary was built from, and what it can compute with.

use std::sync::LazyLock;

use ulpscope_kernels::{PATH_VARIABLE, Path};

/// `0.1.0 (revision)`, as `-V` prints it.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ULPSCOPE_GIT"), ")");

/// The git revision, or `unknown` outside a checkout.
pub(crate) const GIT: &str = env!("ULPSCOPE_GIT");

/// Version, backends, and the instructions that the kernels can use on this machine, as `--version`
/// prints them.
pub(crate) fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let cuda = if cfg!(feature = "cuda") { "cuda" } else { "no cuda (build with --features cuda)" };
        let paths: Vec<&str> = Path::available().into_iter().map(Path::name).collect();
        let chosen = match Path::detect() {
            Ok(path) => format!("{path} is used; {PATH_VARIABLE} chooses another"),
            Err(error) => error.to_string(),
        };
        format!(
            "{VERSION}\nbackends: flex (this CPU), {cuda}\nCPU paths: {}; {chosen}\nrecords: schema version {}",
            paths.join(", "),
            ulpscope_record::SCHEMA
        )
    });
    &TEXT
}
