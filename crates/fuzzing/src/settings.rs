//! What the environment asks for.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) executions: Option<u64>,
    pub(crate) time: Option<Duration>,
    pub(crate) only: Option<String>,
    pub(crate) seed: u64,
    pub(crate) last: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
}

impl Settings {
    /// Panics where a number is none: a long run with a slip in it would be a short one.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| -> Option<u64> {
            let text = env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, which is no whole number")))
        };
        Settings {
            executions: number("ULPSCOPE_FUZZ_EXECUTIONS"),
            time: number("ULPSCOPE_FUZZ_SECONDS").map(Duration::from_secs),
            only: env::var("ULPSCOPE_FUZZ_TARGET").ok(),
            seed: number("ULPSCOPE_FUZZ_SEED").unwrap_or(0),
            last: env::var_os("ULPSCOPE_FUZZ_LAST").map(PathBuf::from),
            report: env::var_os("ULPSCOPE_FUZZ_REPORT").map(PathBuf::from),
        }
    }
}
