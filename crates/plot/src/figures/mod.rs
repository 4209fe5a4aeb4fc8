//! The figures, one file each.

mod counterfactuals;
mod floor;
mod growth;
mod heatmap;
mod introduced;
mod layers;
mod logits;
mod positions;

pub use counterfactuals::counterfactuals;
pub use floor::floor;
pub use growth::growth;
pub use heatmap::heatmap;
pub use introduced::introduced;
pub use layers::layers;
pub use logits::logits;
pub use positions::positions;

use crate::axis::{Axis, Place};
use crate::colour::Colour;
use crate::picture::{Mark, Picture, Point};
use ulpscope_record::SiteDivergence;

/// A line through values, broken where one is zero or not finite. Those are marked in their strips.
///
/// `marked` puts a mark on every value; without it only lone ones get one, which no line would
/// show.
fn curve(
    picture: &mut Picture,
    points: &[(f64, f64)],
    axis: &Axis,
    (mark, colour, dashed): (Mark, Colour, bool),
    marked: bool,
) {
    let (width, radius) = if dashed { (3.0, 6.0) } else { (4.0, 8.0) };
    let places: Vec<(f64, Place)> = points.iter().map(|&(x, value)| (x, axis.place(value))).collect();
    for run in places.chunk_by(|a, b| matches!((a.1, b.1), (Place::Value(_), Place::Value(_)))) {
        let line: Vec<Point> = run.iter().map(|&(x, place)| (x, place.pixel())).collect();
        if line.len() < 2 {
            continue;
        }
        match dashed {
            true => picture.dashed(&line, width, 14.0, colour),
            false => picture.line(&line, width, colour),
        }
    }
    let lone = |index: usize| {
        let value = |place: Option<&(f64, Place)>| matches!(place, Some((_, Place::Value(_))));
        !value(index.checked_sub(1).and_then(|before| places.get(before))) && !value(places.get(index + 1))
    };
    for (index, &(x, place)) in places.iter().enumerate() {
        match place {
            Place::Value(y) if marked || lone(index) => picture.mark(mark, (x, y), radius, colour),
            Place::Value(_) => {}
            Place::Zero(y) => picture.hollow(mark, (x, y), radius, colour),
            Place::Wild(y) => picture.cross((x, y), radius, 3.0, colour),
        }
    }
}

/// A difference at a site, if it can be judged: next to NaN and infinity nothing is equal.
fn judged(site: &SiteDivergence, difference: f64) -> f64 {
    if site.is_blind() { f64::NAN } else { difference }
}

/// Layer of a site and its name within the block, which is empty for the block's output.
fn within_block(site: &str) -> Option<(usize, &str)> {
    let rest = site.strip_prefix("model.layers.")?;
    let (layer, name) = rest.split_once('.').unwrap_or((rest, ""));
    // As u32, so that one more than a hostile number is still a number.
    Some((usize::try_from(layer.parse::<u32>().ok()?).ok()?, name))
}
