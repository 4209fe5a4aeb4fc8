//! Parts of a matrix that share a constant, as scales of quantised formats do.

use std::fmt;

/// How a matrix is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Not at all.
    Tensor,
    /// Each row by itself.
    Rows,
    /// Each column by itself.
    Columns,
    /// So many neighbours within a row.
    Blocks(usize),
    /// Squares of so many rows and columns; those at the edges may be smaller.
    Tiles(usize),
}

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Groups::Tensor => f.write_str("per tensor"),
            Groups::Rows => f.write_str("per row"),
            Groups::Columns => f.write_str("per column"),
            Groups::Blocks(n) => write!(f, "in blocks of {n}"),
            Groups::Tiles(n) => write!(f, "in tiles of {n}x{n}"),
        }
    }
}

impl Groups {
    /// How many groups a matrix has.
    pub fn count(self, rows: usize, columns: usize) -> usize {
        match self {
            Groups::Tensor => 1,
            Groups::Rows => rows,
            Groups::Columns => columns,
            Groups::Blocks(n) => rows * columns.div_ceil(n),
            Groups::Tiles(n) => rows.div_ceil(n) * columns.div_ceil(n),
        }
    }

    /// The group of an element.
    pub fn of(self, row: usize, column: usize, columns: usize) -> usize {
        match self {
            Groups::Tensor => 0,
            Groups::Rows => row,
            Groups::Columns => column,
            Groups::Blocks(n) => row * columns.div_ceil(n) + column / n,
            Groups::Tiles(n) => row / n * columns.div_ceil(n) + column / n,
        }
    }

    /// Where the elements of a group lie, in runs: the start of each, and its length.
    pub(crate) fn runs(
        self,
        group: usize,
        rows: usize,
        columns: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        let whole = |from: usize, len: usize| (from, len, 1, 0);
        let (start, len, times, stride) = match self {
            Groups::Tensor => whole(0, rows * columns),
            Groups::Rows => whole(group * columns, columns),
            Groups::Columns => (group, 1, rows, columns),
            Groups::Blocks(n) => {
                let within = group % columns.div_ceil(n) * n;
                whole(group / columns.div_ceil(n) * columns + within, n.min(columns - within))
            }
            Groups::Tiles(n) => {
                let (row, column) = (group / columns.div_ceil(n) * n, group % columns.div_ceil(n) * n);
                (row * columns + column, n.min(columns - column), n.min(rows - row), columns)
            }
        };
        (0..times).map(move |i| (start + i * stride, len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_the_group_that_it_belongs_to() {
        let (rows, columns) = (7, 10);
        for groups in [Groups::Tensor, Groups::Rows, Groups::Columns, Groups::Blocks(4), Groups::Tiles(3)] {
            let mut seen = vec![0; rows * columns];
            for group in 0..groups.count(rows, columns) {
                for (start, len) in groups.runs(group, rows, columns) {
                    for (i, seen) in seen.iter_mut().enumerate().skip(start).take(len) {
                        assert_eq!(groups.of(i / columns, i % columns, columns), group, "{groups}");
                        *seen += 1;
                    }
                }
            }
            assert!(seen.iter().all(|n| *n == 1), "{groups}");
        }
    }
}
