//! Rounding sums to the output's format, and writing them from several threads.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use crate::Path;
use ulpscope_floats::{bf16, bf16_from_f32, bf16_from_f64_exact, f16, f16_from_f64_exact, f32_to_f16};

/// A format that sums are rounded to.
pub(crate) trait Output: Copy + Send + Sync + bytemuck::Zeroable {
    const ZERO: Self;

    /// Rounds f32 sums, to nearest, ties to even.
    fn narrow(sums: &[f32], out: &mut [Self]);

    /// Rounds a wider number in one step, and tells apart what comes out.
    fn from_f64(x: f64) -> Self;

    /// Whether two results have the same bits.
    fn same(self, other: Self) -> bool;
}

impl Output for bf16 {
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    fn narrow(sums: &[f32], out: &mut [Self]) {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = bf16_from_f32(*sum));
    }

    fn from_f64(x: f64) -> Self {
        bf16_from_f64_exact(x)
    }

    fn same(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Output for f16 {
    const ZERO: Self = f16::ZERO;

    fn narrow(sums: &[f32], out: &mut [Self]) {
        f32_to_f16(sums, out);
    }

    fn from_f64(x: f64) -> Self {
        f16_from_f64_exact(x)
    }

    fn same(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Output for f32 {
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn narrow(sums: &[f32], out: &mut [Self]) {
        out.copy_from_slice(sums);
    }

    fn from_f64(x: f64) -> Self {
        x as f32
    }

    fn same(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

/// [`Output::narrow`], compiled for the path's instructions. The bits are the same.
pub(crate) fn narrow<O: Output>(path: Path, sums: &[f32], out: &mut [O]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn wide<O: Output>(sums: &[f32], out: &mut [O]) {
        O::narrow(sums, out);
    }
    match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a path that a product runs on has been checked against the CPU.
        Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => unsafe { wide(sums, out) },
        _ => O::narrow(sums, out),
    }
}

/// A rectangle of a row-major matrix, for one thread to fill.
pub(crate) struct Cell<'a, T> {
    start: *mut T,
    /// Columns of the whole matrix.
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a cell is a mutable borrow of numbers that no other cell reaches; see `grid`.
unsafe impl<T: Send> Send for Cell<'_, T> {}

/// Cuts a matrix into cells of `height` rows and `width` columns (fewer at the far ends), column of cells by column.
///
/// # Panics
/// If a length is 0 or the matrix is no whole number of rows.
pub(crate) fn grid<T>(values: &mut [T], columns: usize, height: usize, width: usize) -> Vec<Cell<'_, T>> {
    assert_eq!(values.len() % columns, 0, "a matrix is a whole number of rows");
    let rows = values.len() / columns;
    let start = values.as_mut_ptr();
    let cell = |row: usize, column: usize| Cell {
        start,
        stride: columns,
        rows: row..rows.min(row + height),
        columns: column..columns.min(column + width),
        owner: PhantomData,
    };
    let across = (0..columns).step_by(width);
    across.flat_map(|column| (0..rows).step_by(height).map(move |row| cell(row, column))).collect()
}

impl<T> Cell<'_, T> {
    /// The rows of the matrix that belong to this cell.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the matrix that belong to this cell.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Some columns of one row; both counted from the start of the matrix.
    ///
    /// # Panics
    /// If they are not this cell's.
    pub(crate) fn part(&mut self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(self.rows.contains(&row), "row {row} of a cell of rows {:?}", self.rows);
        assert!(
            self.columns.start <= columns.start
                && columns.start <= columns.end
                && columns.end <= self.columns.end,
            "columns {columns:?} of a cell of columns {:?}",
            self.columns
        );
        // SAFETY: within the slice that `grid` was given, for as long as it was. Cells of one grid do not overlap, and
        // this one is borrowed mutably for as long as the part lives.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row * self.stride + columns.start), columns.len())
        }
    }
}

/// Where the sums of a block go: some rows and columns of a cell.
pub(crate) struct Place<'c, 'a, T> {
    pub(crate) cell: &'c mut Cell<'a, T>,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl<O: Output> Place<'_, '_, O> {
    /// Rounds sums, in rows of `stride`, after adding the bias of each column.
    pub(crate) fn fill(self, path: Path, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
        #[inline(always)]
        fn body<O: Output>(place: Place<O>, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
            let Place { cell, rows, columns } = place;
            for (row, sums) in rows.zip(sums.chunks_exact_mut(stride)) {
                let sums = &mut sums[..columns.len()];
                if let Some(bias) = bias {
                    sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                }
                O::narrow(sums, cell.part(row, columns.clone()));
            }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn wide<O: Output>(place: Place<O>, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
            body(place, sums, stride, bias);
        }
        match path {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a path that a product runs on has been checked against the CPU.
            Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => unsafe { wide(self, sums, stride, bias) },
            _ => body(self, sums, stride, bias),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cover_a_matrix_once() {
        for (rows, columns, height, width) in [(1, 1, 1, 1), (7, 10, 3, 4), (5, 64, 8, 16), (0, 3, 2, 2)] {
            let mut values = vec![0; rows * columns];
            for mut cell in grid(&mut values, columns, height, width) {
                for row in cell.rows() {
                    cell.part(row, cell.columns()).iter_mut().for_each(|x| *x += 1);
                }
            }
            assert!(values.iter().all(|&x| x == 1), "[{rows}, {columns}] in cells of {height}, {width}");
        }
    }

    #[test]
    #[should_panic(expected = "columns 2..5")]
    fn a_cell_keeps_to_itself() {
        let mut values = [0; 20];
        let mut cells = grid(&mut values, 10, 1, 4);
        cells[0].part(0, 2..5);
    }
}
