//! Rows or columns in another order, found by hashing them and verified element by element.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| a.get((7 - i / 8) * 8 + i % 8) as f32).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[8, 8], &Hints::default()).to_string();
//! assert_eq!(statement, "b = a with rows in reverse order");
//! ```

use rayon::prelude::*;
use ulpscope_metrics::{canonical, mix};

use crate::order::Order;
use crate::rearrangement::{Axis, Rearrangement};
use crate::view::{PIECE, View, same};

/// Elements of each row or column that are hashed before the rest is looked at.
const TASTE: usize = 64;

/// Rows in another order; elements, if there is one column.
pub(crate) fn rows(a: View, b: View, rows: usize, columns: usize, heads: &[usize]) -> Option<Rearrangement> {
    let hashes = |x: View, width: usize| -> Vec<u64> {
        (0..rows).into_par_iter().with_min_len(64).map(|row| hash(x, row * columns, width)).collect()
    };
    let tasted = columns.min(TASTE);
    let (mut keys_a, mut keys_b) = (hashes(a, tasted), hashes(b, tasted));
    if sum(&keys_a) != sum(&keys_b) {
        return None;
    }
    if columns > tasted {
        (keys_a, keys_b) = (hashes(a, columns), hashes(b, columns));
    }
    let order = order(&keys_a, &keys_b, heads)?;
    let equal = |row: usize| {
        let from = order.source(row, rows) * columns;
        let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
        (0..columns).step_by(PIECE).all(|start| {
            let n = PIECE.min(columns - start);
            a.read(from + start, &mut x[..n]);
            b.read(row * columns + start, &mut y[..n]);
            x[..n].iter().zip(&y[..n]).all(|(x, y)| same(*x, *y))
        })
    };
    let axis = if columns == 1 { Axis::Elements } else { Axis::Rows };
    (0..rows).into_par_iter().with_min_len(64).all(equal).then_some(Rearrangement::Permuted {
        axis,
        order,
        of: rows,
    })
}

/// Columns in another order.
pub(crate) fn columns(
    a: View,
    b: View,
    rows: usize,
    columns: usize,
    heads: &[usize],
) -> Option<Rearrangement> {
    if columns < 2 {
        return None;
    }
    let hashes = |x: View, height: usize| {
        let mut keys = vec![0u64; columns];
        let mut wide = vec![0.0; columns];
        for row in 0..height {
            x.read(row * columns, &mut wide);
            keys.iter_mut().zip(&wide).for_each(|(key, x)| *key = mix(*key, canonical(*x)));
        }
        keys
    };
    let tasted = rows.min(TASTE);
    let (mut keys_a, mut keys_b) = (hashes(a, tasted), hashes(b, tasted));
    if sum(&keys_a) != sum(&keys_b) {
        return None;
    }
    if rows > tasted {
        (keys_a, keys_b) = (hashes(a, rows), hashes(b, rows));
    }
    let order = order(&keys_a, &keys_b, heads)?;
    let source: Vec<usize> = (0..columns).map(|i| order.source(i, columns)).collect();
    let equal = |(x, y): &mut (Vec<f64>, Vec<f64>), row: usize| {
        a.read(row * columns, x);
        b.read(row * columns, y);
        source.iter().zip(y).all(|(from, y)| same(x[*from], *y))
    };
    let buffers = || (vec![0.0; columns], vec![0.0; columns]);
    let axis = if rows == 1 { Axis::Elements } else { Axis::Columns };
    let all = (0..rows).into_par_iter().with_min_len(64).map_init(buffers, equal).all(|equal| equal);
    all.then_some(Rearrangement::Permuted { axis, order, of: columns })
}

fn order(a: &[u64], b: &[u64], heads: &[usize]) -> Option<Order> {
    (sum(a) == sum(b) && a != b).then(|| Order::of(a, b, heads)).flatten()
}

/// A sum that does not depend on the order, and is all but certain to differ for other keys.
fn sum(keys: &[u64]) -> u64 {
    keys.iter().fold(0, |sum, key| sum.wrapping_add(mix(0x9e37_79b9_7f4a_7c15, *key)))
}

fn hash(x: View, start: usize, len: usize) -> u64 {
    let mut piece = [0.0; PIECE];
    let mut key = 0;
    for at in (0..len).step_by(PIECE) {
        let n = PIECE.min(len - at);
        x.read(start + at, &mut piece[..n]);
        key = piece[..n].iter().fold(key, |key, x| mix(key, canonical(*x)));
    }
    key
}
