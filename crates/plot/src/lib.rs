//! Pictures of what a run found, drawn from its record alone.
//!
//! Each figure is a function from a record to a [`Picture`], which saves itself as PNG or SVG:
//!
//! - [`layers`]: mean and largest difference of each block's output, one colour per arm;
//! - [`heatmap`]: every site of every layer, and the sites outside the blocks;
//! - [`introduced`]: what each site of one layer adds, next to what has accumulated there;
//! - [`logits`]: the logits of an arm against the reference's, and their difference;
//! - [`positions`]: logits and blocks by token position;
//!
//! and where the record has an explanation:
//!
//! - [`floor()`]: what every site introduces, over what the order of summation alone would;
//! - [`counterfactuals()`]: what is left when one thing that differs is exchanged;
//! - [`growth()`]: divergence against position, with the noise floor.
//!
//! The same record gives the same bytes on every machine: the font is carried along, and nothing
//! asks for the time. Divergences spread over many decades, so their axes are logarithmic. Exact
//! zeros, NaN and infinities have no place on such an axis, and get a strip of their own. Series
//! differ in colour (Okabe and Ito's set) and in mark. What a record lacks, the picture says.
//!
//! Nothing here computes a metric or knows a model; nothing is printed.
//!
//! ```
//! use ulpscope_plot::{Options, draw_all};
//! use ulpscope_record::RunRecord;
//!
//! let record = RunRecord::from_json(include_str!("../../record/tests/small.json"))?;
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let files = draw_all(&record, folder, &Options::default())?;
//! assert!(files.contains(&folder.join("layers.png")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axis;
mod colour;
mod error;
mod figures;
mod font;
#[cfg(test)]
mod fuzz;
mod heading;
mod picture;
mod render;
#[cfg(test)]
mod synthetic;

pub use error::PlotError;
pub use figures::{counterfactuals, floor, growth, heatmap, introduced, layers, logits, positions};
pub use picture::{Picture, SIZE};

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use ulpscope_record::{Arm, RunRecord};

/// What to draw of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Write an SVG beside every PNG.
    pub svg: bool,
    /// The layer that [`introduced`] is about.
    pub layer: usize,
    /// Index of the prompt.
    pub prompt: usize,
    /// The arm that figures of one arm are drawn of; of the first [`ARMS`] where none is named.
    pub arm: Option<String>,
}

/// Arms of which figures are drawn unasked. More files than this nobody looks at.
pub const ARMS: usize = 16;

/// Draws every figure into the folder `dir`, which is made if it is missing, and returns the files.
///
/// [`layers`] shows all arms in `layers.png`. The other figures are about one arm each:
/// `heatmap.png` and so on where there is one beside the reference, `heatmap-b.png`,
/// `heatmap-c.png` where there are several, of the first [`ARMS`] or of the one that was asked for.
/// Those of the explanation, `floor.png`, `counterfactuals.png` and `growth.png`, are about the arm
/// that it explains, and there only where the record has what they show.
///
/// # Errors
/// [`PlotError::OneArm`], [`PlotError::NoPrompt`], [`PlotError::NoLayer`], [`PlotError::NoArm`],
/// [`PlotError::Write`]. Figures finished before an error stay; none is ever half-written.
pub fn draw_all(record: &RunRecord, dir: &Path, options: &Options) -> Result<Vec<PathBuf>, PlotError> {
    let subject = heading::Subject::new(record, options.prompt)?;
    let mut figures = vec![("layers".to_owned(), layers(record, options)?)];
    let asked = options.arm.as_ref().map(|name| subject.arm(name)).transpose()?;
    let drawn = |arm: &Arm| asked.is_none_or(|asked| asked.name == arm.name);
    let most = if asked.is_some() { usize::MAX } else { ARMS };
    for (index, arm) in subject.arms().iter().enumerate().filter(|(_, arm)| drawn(arm)).take(most) {
        let suffix = match subject.arms().len() {
            1 => String::new(),
            _ => format!("-{}", file_name(&arm.name).unwrap_or_else(|| (index + 1).to_string())),
        };
        figures.push((format!("heatmap{suffix}"), heatmap(record, &arm.name, options)?));
        figures.push((format!("introduced{suffix}"), introduced(record, &arm.name, options)?));
        figures.push((format!("logits{suffix}"), logits(record, &arm.name, options)?));
        figures.push((format!("positions{suffix}"), positions(record, &arm.name, options)?));
    }

    let explained = [
        ("floor", floor(record, options)?),
        ("counterfactuals", counterfactuals(record, options)?),
        ("growth", growth(record, options)?),
    ];
    let explained = explained.into_iter().filter_map(|(name, picture)| Some((name.to_owned(), picture?)));
    figures.extend(explained);

    std::fs::create_dir_all(dir)
        .map_err(|source| PlotError::Write { path: dir.display().to_string(), source })?;
    let endings: &[&str] = if options.svg { &["png", "svg"] } else { &["png"] };
    let files: Vec<(PathBuf, &Picture)> = (figures.iter())
        .flat_map(|(name, picture)| {
            endings.iter().map(move |ending| (dir.join(format!("{name}.{ending}")), picture))
        })
        .collect();
    // Turning shapes into pixels is what takes the time.
    files.par_iter().with_max_len(1).try_for_each(|(path, picture)| picture.save(path))?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// Figures of all arms, or of the one that is explained: one file each.
const WHOLE: [&str; 4] = ["layers", "floor", "counterfactuals", "growth"];
/// Figures of one arm, which several arms have each with its name behind a hyphen.
const BY_ARM: [&str; 4] = ["heatmap", "introduced", "logits", "positions"];

/// Whether a file is called as one that [`draw_all`] writes.
///
/// ```
/// use std::path::Path;
/// use ulpscope_plot::is_figure;
///
/// assert!(is_figure(Path::new("run/heatmap-b.png")) && is_figure(Path::new("layers.svg")));
/// assert!(!is_figure(Path::new("layers-of-mine.png")) && !is_figure(Path::new("heatmap.csv")));
/// ```
pub fn is_figure(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let by_arm = stem.split_once('-').map_or(stem, |(figure, _)| figure);
    matches!(ending, "png" | "svg") && (WHOLE.contains(&stem) || BY_ARM.contains(&by_arm))
}

/// The name of an arm as part of a file's name, if it is fit for one.
fn file_name(arm: &str) -> Option<String> {
    let fit = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!arm.is_empty() && arm.len() <= 40 && arm.chars().all(fit)).then(|| arm.to_owned())
}

#[cfg(test)]
mod tests;
