//! Arrays that are equal in most places: which elements, rows or blocks are not, and what happened
//! to those.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| if i / 8 == 3 { 0.0 } else { a.get(i) as f32 }).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[8, 8], &Hints::default()).to_string();
//! assert_eq!(statement, "b = a, except row 3, which are zero");
//! ```

mod differing;
pub(crate) mod few;
mod lines;
mod moved;
mod related;

use crate::place::Place;
use crate::relation::{Change, Partial, Relation, Zeros};
use crate::view::{PIECE, View, same};
use crate::way::Way;
use differing::Differing;
use related::related;

/// Elements that are looked at before all are.
const SAMPLE: usize = 1024;

/// The most elements that are taken out and tested for a relation of their own.
const INNER: usize = 1 << 24;

/// Finds a place outside which `a` equals `b`, of `rows` times `columns` elements.
///
/// Claimed where 5 % of all elements are equal if it is clear what lies in the place, else a
/// quarter of them.
pub(crate) fn partial(way: &Way) -> Option<Relation> {
    let Way { of, source: a, result: b, rows, columns, .. } = *way;
    let len = a.len();
    let sample = SAMPLE.min(len);
    let equal = (0..sample).filter(|i| same(a.get(i * (len / sample)), b.get(i * (len / sample)))).count();
    if len == 0 || equal * 20 < sample {
        return None;
    }
    let d = Differing::of(a, b, rows, columns);
    if d.count == 0 || d.kept == 0 || (len - d.count) * 20 < len {
        return None;
    }
    let few = (d.count <= few::MOST && d.count * 8 <= len).then(|| few::few(of, a, b, columns, &d.some));
    // Zeros and the like fill their place; what was equal there was so by chance.
    let constant = d.constant.filter(|x| x.is_finite());
    let whole = |place: &Place| {
        let all = |like: &dyn Fn(f64) -> bool| place.elements(rows, columns).all(|i| like(b.get(i)));
        match constant {
            _ if d.zero => all(&|y| y == 0.0),
            Some(x) => all(&|y| y == x),
            None if d.not_finite => all(&|y| !y.is_finite()),
            None => true,
        }
    };
    let place = d.place(rows, columns, whole);
    let outside = len - d.size(&place, rows, columns);
    if outside * 20 < len {
        return None;
    }
    let change = change(&d, &place, way);
    let (place, change) = match (few, place, change) {
        // A single element is best shown as it is, and so are several that no place gathers.
        (Some(few), place, change) => {
            // The smallest of all say so themselves.
            let smallest = matches!(change, Change::Zero(Zeros::Below(_)));
            let told = d.count >= 4 && change != Change::Other && (place != Place::Scattered || smallest);
            if !told {
                return Some(Relation::Few(few));
            }
            (place, change)
        }
        (None, Place::Scattered, Change::Other) => return None,
        (None, _, Change::Other) if outside * 4 < len => return None,
        (None, place, change) => (place, change),
    };
    let rounded = a.rounding();
    Some(Relation::Partial(Partial { place, change, differing: d.count, len, rounded, of }))
}

/// What lies in `place`.
fn change(d: &Differing, place: &Place, way: &Way) -> Change {
    let Way { result: b, rows, columns, .. } = *way;
    if d.zero {
        let limit = d.largest.log2().floor() + 1.0;
        let limit =
            [-126.0, -14.0].into_iter().find(|e| limit <= *e && e.exp2() <= d.smallest_kept).unwrap_or(limit);
        return Change::Zero(if d.largest < d.smallest_kept && *place == Place::Scattered {
            Zeros::Below(if limit.exp2() <= d.smallest_kept { limit.exp2() } else { d.smallest_kept })
        } else if *place == Place::Scattered && two_of_four(b) {
            Zeros::TwoOfFour
        } else if *place == Place::Scattered && even(&d.rows, columns) {
            Zeros::EachRow
        } else {
            Zeros::Place
        });
    }
    if let Some(x) = d.constant.filter(|x| x.is_finite()) {
        return Change::Constant(x);
    }
    if d.not_finite {
        return Change::NotFinite;
    }
    if let Some(moved) = moved::moved(place, way) {
        return moved;
    }
    if *place == Place::Scattered || d.size(place, rows, columns) > INNER {
        return Change::Other;
    }
    match related(place, way) {
        Change::Other => lines::several(place, way).unwrap_or(Change::Other),
        related => related,
    }
}

/// Whether about the same share of each row differs, and no small one.
fn even(rows: &[u32], columns: usize) -> bool {
    const LEAST: usize = 16;
    let (low, high) = (rows.iter().min(), rows.iter().max());
    let [low, high] = [low, high].map(|n| n.map_or(0, |n| *n as usize));
    rows.len() > 1 && low >= LEAST && low * 8 >= columns && (high - low) * 50 <= columns
}

/// Whether of all four neighbours two are zero, or more where some were before.
fn two_of_four(b: View) -> bool {
    let mut piece = [0.0; PIECE];
    let zeros = |four: &[f64]| four.iter().filter(|x| **x == 0.0).count();
    b.len().is_multiple_of(4)
        && (0..b.len()).step_by(PIECE).all(|start| {
            let piece = &mut piece[..PIECE.min(b.len() - start)];
            b.read(start, piece);
            piece.chunks(4).all(|four| zeros(four) >= 2)
        })
}

#[cfg(test)]
mod tests;
