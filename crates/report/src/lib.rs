//! Records in, pages out: one self-contained HTML file, and Markdown for pull requests.
//!
//! [`html`] answers by looking at it whether a divergence matters, why it is there and where it
//! starts: the verdict beside noise, likely tokens side by side, causes undone and alone, a map of
//! every site, tensors, divergence by position and by layer, and how to run it again. [`several`]
//! puts the arms of many runs into one table. [`markdown`] is the short form.
//!
//! The HTML needs nothing beside itself and may not: its content security policy allows the one
//! script and the one style sheet in it, by their hashes, and no network. Everything of substance
//! is HTML already when the page is opened; the script draws charts, sorts tables and answers the
//! pointer and the keyboard. Whatever came from outside (prompts, names, tokens) is escaped: as
//! text by the macro that pages are written with, and in the data that the script reads.
//!
//! What is not here: no metric is computed, no file is touched, nothing is printed.
//!
//! ```
//! use ulpscope_record::RunRecord;
//!
//! let record = RunRecord::from_json(include_str!("../../record/tests/explained.json"))?;
//! let page = ulpscope_report::html(&record);
//! assert!(page.contains("rotary-buffer-rounded") && !page.contains("https://"));
//! # Ok::<(), ulpscope_record::RecordError>(())
//! ```

mod bars;
mod data;
mod markdown;
mod page;
mod replay;
mod sections;
mod several;

pub use markdown::{markdown, markdown_of_several};
pub use several::{name, several};

use ulpscope_record::RunRecord;
use ulpscope_record::summary::answer;
use ulpscope_record::text::brief;

/// The page of one run.
pub fn html(record: &RunRecord) -> String {
    let answer = answer(record);
    let [a, b] = &answer.compared;
    let kl =
        if answer.size.kl.is_nan() { String::new() } else { format!(" · KL {}", brief(answer.size.kl)) };
    let title = format!("{b} vs {a} · {}{kl}", answer.badge);
    page::whole(&title, &sections::all(record, &answer), &data::of(record))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
