//! Everything some places further on: an offset that is off by one, a header read as data.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| if i == 0 { 0.0 } else { a.get(i - 1) as f32 }).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[8, 8], &Hints::default()).to_string();
//! assert_eq!(statement, "b = a shifted by 1 element, zeros behind");
//! ```

use rayon::prelude::*;

use crate::rearrangement::{Axis, Edge, Rearrangement};
use crate::view::{PIECE, View, same};

/// The largest shift that is tried element by element.
const NEAR: isize = 8;

pub(crate) fn shifted(a: View, b: View, rows: usize, columns: usize) -> Option<Rearrangement> {
    let near = || (1..=NEAR).flat_map(|by| [by, -by]);
    let whole = |by: isize| shift(a, b, a.len(), by);
    let elements = near().find_map(|by| Some((Axis::Elements, by, whole(by)?)));
    let found = elements.or_else(|| {
        if columns == 1 || rows == 1 {
            return None;
        }
        let column = near().find_map(|by| Some((Axis::Columns, by, shift(a, b, columns, by)?)));
        column.or_else(|| {
            row_shifts(a, b, rows, columns)
                .find_map(|by| Some((Axis::Rows, by, whole(by * columns as isize)?)))
        })
    });
    found.map(|(axis, by, edge)| Rearrangement::Shifted { axis, by, edge })
}

/// Shifts by whole rows under which the middle row of `b` starts as one of `a` does.
fn row_shifts(a: View, b: View, rows: usize, columns: usize) -> impl Iterator<Item = isize> {
    let middle = rows / 2;
    let starts = move |row: usize| {
        (0..columns.min(16)).all(|c| same(a.get(row * columns + c), b.get(middle * columns + c)))
    };
    (0..rows)
        .filter(move |row| *row != middle && starts(*row))
        .take(4)
        .map(move |row| middle as isize - row as isize)
}

/// What lies at the edge if each run of `width` elements of `b` is that of `a`, `by` places further
/// on. At least half of it must have stayed.
fn shift(a: View, b: View, width: usize, by: isize) -> Option<Edge> {
    let far = by.unsigned_abs();
    if far * 2 > width {
        return None;
    }
    let kept = width - far;
    // The first that stays, in `a` and in `b`, and where the edge is.
    let (from, to, free) = if by > 0 { (0, far, 0) } else { (far, 0, kept) };
    let runs = a.len() / width;
    let mut sample = (0..64usize).map(|i| (i % runs * width, i * 7919 % kept));
    if !sample.all(|(run, at)| same(a.get(run + from + at), b.get(run + to + at))) {
        return None;
    }
    let pieces = kept.div_ceil(PIECE);
    let equal = |task: usize| {
        let (run, at) = (task / pieces * width, task % pieces * PIECE);
        let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
        let n = PIECE.min(kept - at);
        a.read(run + from + at, &mut x[..n]);
        b.read(run + to + at, &mut y[..n]);
        x[..n].iter().zip(&y[..n]).all(|(x, y)| same(*x, *y))
    };
    if !(0..runs * pieces).into_par_iter().with_min_len(64).all(equal) {
        return None;
    }
    let edge = |test: &dyn Fn(usize, f64) -> bool| {
        (0..runs).all(|run| (0..far).all(|i| test(run * width + i, b.get(run * width + free + i))))
    };
    // Where the edge's elements would have come from, had they come round.
    let lost = if by > 0 { kept } else { 0 };
    Some(if edge(&|i, y| same(a.get(i + lost), y)) {
        Edge::Wrapped
    } else if edge(&|_, y| y == 0.0) {
        Edge::Zero
    } else if edge(&|i, y| same(a.get(i + free), y)) {
        Edge::Kept
    } else {
        Edge::Other
    })
}
