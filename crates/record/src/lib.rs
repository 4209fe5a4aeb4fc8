//! What one run found, on disk.
//!
//! A run that compares arms ends in one plain value, the [`RunRecord`], and one file,
//! `record.json`. Every table, plot and page is drawn from it alone, so that a finished run can be
//! shown again, sent to somebody else or checked against a second run without the model at hand.
//!
//! - [`schema`]: the fields. Units and reference are stated at each of them.
//! - [`explanation`]: what caused a divergence, how that was proved, and whether it matters.
//! - [`judgement`]: what that means for the model, in the order a reader needs it.
//! - [`mod@file`]: reading and writing. A file is either whole or not there; damaged input is one
//!   clear error.
//! - [`header`]: what parsers overlook in the headers of files that others wrote.
//! - [`mod@kind`]: what a file really is, where it is not what its name says.
//! - [`float`]: numbers that JSON lacks (NaN and the infinities), bit-exact both ways.
//! - [`provenance`]: what ran, where and when, the only part that two runs of one thing do not
//!   share.
//! - [`same`]: what differs between two records, which is how a replay is judged.
//! - [`mod@unit`]: what an interrupted run goes on from.
//! - [`summary`]: a record as a page of Markdown; [`text`]: how it words numbers, and the one place
//!   that knows which characters of other people's text may be shown.
//!
//! What is not here: no metric is computed, no tensor is held, nothing is printed.
//!
//! ```
//! use ulpscope_record::{RunRecord, differences, markdown};
//!
//! let record = RunRecord::from_json(include_str!("../tests/small.json"))?;
//! let again = RunRecord::from_json(&record.to_json()?)?;
//! assert!(differences(&record, &again).is_empty());
//! assert!(markdown(&record).contains("b = round_bf16(a)"));
//! # Ok::<(), ulpscope_record::RecordError>(())
//! ```

mod claim;
pub mod explanation;
pub mod file;
pub mod float;
pub mod header;
pub mod judgement;
pub mod kind;
mod layout;
mod printable;
pub mod provenance;
pub mod same;
pub mod schema;
pub mod summary;
pub mod text;
mod tokenizers;
pub mod unit;

pub use claim::ContradictedClaim;
pub use explanation::*;
pub use file::RecordError;
pub use judgement::*;
pub use same::differences;
pub use schema::*;
pub use summary::markdown;
pub use tokenizers::*;
