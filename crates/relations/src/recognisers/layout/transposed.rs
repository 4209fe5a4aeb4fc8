//! Rows that became columns.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..32).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..32).map(|i| a.get(i % 8 * 4 + i / 8) as f32).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[4, 8], &Hints::default()).to_string();
//! assert_eq!(statement, "b = a taken as [8, 4] and transposed");
//! ```

use rayon::prelude::*;

use crate::rearrangement::Rearrangement;
use crate::view::{View, same};

/// `a` as `[rows, columns]` transposed, or as `[columns, rows]`.
pub(crate) fn transposed(a: View, b: View, rows: usize, columns: usize) -> Option<Rearrangement> {
    if rows < 2 || columns < 2 {
        return None;
    }
    let both = [(rows, columns), (columns, rows)];
    let distinct = if rows == columns { &both[..1] } else { &both[..] };
    distinct
        .iter()
        .find(|(rows, columns)| holds(a, b, *rows, *columns))
        .map(|&(rows, columns)| Rearrangement::Transposed { rows, columns })
}

fn holds(a: View, b: View, rows: usize, columns: usize) -> bool {
    // Elements spread over the whole, at steps that share no factor with its sides.
    let len = rows * columns;
    let sample = (0..64usize).map(|i| (i * 7919 + 1) % len);
    let moved = |at: usize| same(a.get(at), b.get(at % columns * rows + at / columns));
    if !sample.into_iter().all(moved) {
        return false;
    }
    // Row by row of `b`, whose sources lie a row of `a` apart.
    let row = |wide: &mut Vec<f64>, column: usize| {
        b.read(column * rows, wide);
        wide.iter().enumerate().all(|(row, y)| same(a.get(row * columns + column), *y))
    };
    (0..columns).into_par_iter().with_min_len(16).map_init(|| vec![0.0; rows], row).all(|equal| equal)
}
