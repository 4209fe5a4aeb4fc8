//! Shards of columns that were joined as if they were shards of rows, and the other way about.

use rayon::prelude::*;

use crate::rearrangement::Rearrangement;
use crate::view::{View, same};

/// Numbers of shards that are tried: tensor parallelism is mostly by powers of two.
const COUNTS: [usize; 6] = [2, 4, 8, 16, 32, 64];

pub(crate) fn shards(a: View, b: View, rows: usize, columns: usize) -> Option<Rearrangement> {
    COUNTS
        .into_iter()
        .filter(|count| rows > 1 && columns > *count && columns.is_multiple_of(*count))
        .find_map(|count| {
            [true, false].into_iter().find_map(|stacked| {
                let by = Rearrangement::Shards { count, stacked };
                let moved = |at: usize| same(a.get(source(at, count, stacked, rows, columns)), b.get(at));
                let len = rows * columns;
                let sample = (0..64usize).map(|i| (i * 7919 + 1) % len);
                let holds =
                    sample.into_iter().all(moved) && (0..len).into_par_iter().with_min_len(4096).all(moved);
                holds.then_some(by)
            })
        })
}

/// Where in `a` element `at` of `b` comes from.
pub(crate) fn source(at: usize, count: usize, stacked: bool, rows: usize, columns: usize) -> usize {
    let width = columns / count;
    if stacked {
        // Shard after shard, each of all rows.
        let (shard, within) = (at / (rows * width), at % (rows * width));
        within / width * columns + shard * width + within % width
    } else {
        let (row, shard, within) = (at / columns, at % columns / width, at % width);
        shard * rows * width + row * width + within
    }
}
