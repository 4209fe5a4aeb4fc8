//! Damaged input for parsers: made from good input, run in process, as plain tests on stable Rust.
//!
//! A [`Target`] is a parser with examples of what it accepts. [`Target::run`] damages the examples
//! over and over, and of every execution it asserts
//!
//! - that it does not panic, which includes whatever the target asserts of what it accepted;
//! - that it ends within [`PATIENCE`];
//! - that it holds no more memory at once than [`allowance`] grants, 64 bytes for each byte of
//!   input and 16 MiB. The allocator of this crate counts, so a header that claims 2^60 elements is
//!   found out even where the system would have promised the memory. It must be the test program's
//!   own: `#[global_allocator] static A: Counting = Counting;`.
//!
//! What breaks one of these is made small and kept as a file in the crate's `tests/corpus/TARGET`,
//! and every file there is executed first by every run from then on. The same seed gives the same
//! executions.
//!
//! There is no instrumentation. What stands in for coverage is what the parser says: an input that
//! is refused for a reason not heard before, or accepted as something not seen before, becomes an
//! example itself.
//!
//! | variable | meaning |
//! |---|---|
//! | `ULPSCOPE_FUZZ_EXECUTIONS` | executions of each target, instead of the few that a plain test makes |
//! | `ULPSCOPE_FUZZ_SECONDS` | ends each target after so many seconds, too |
//! | `ULPSCOPE_FUZZ_TARGET` | runs only the target of this name |
//! | `ULPSCOPE_FUZZ_SEED` | another sequence of executions |
//! | `ULPSCOPE_FUZZ_LAST` | a file into which every input is written before it is executed: for what ends the process |
//! | `ULPSCOPE_FUZZ_REPORT` | a file to which every target appends its line |
//!
//! ```
//! use ulpscope_fuzzing::Target;
//!
//! # let folder = std::env::temp_dir().join("ulpscope-fuzzing-doc");
//! Target::new("numbers", folder.to_str().unwrap()).seed("12").seed("-7").words(&["+", "_"]).executions(500).run(|input| {
//!     let text = String::from_utf8_lossy(input);
//!     text.parse::<i32>().map(|_| "a number".to_owned()).map_err(|e| e.to_string())
//! });
//! ```
#![allow(clippy::print_stdout, reason = "each target says what it did")]

mod alloc;
mod json;
mod mutate;
mod outcome;
mod panics;
mod random;
mod settings;
mod strings;
mod target;
mod watch;

pub use alloc::{Counting, peak_of};
pub use random::Random;
pub use strings::{HOSTILE, hostile, injected};
pub use target::{Target, allowance};
pub use watch::PATIENCE;
