//! Rounding sums to the output's format, and writing them from several threads.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use crate::Path;
use ulpscope_floats::{bf16, bf16_from_f32, bf16_from_f64_exact, f16, f16_from_f64_exact, f32_to_f16};

/// Rounds some sums, on a CPU that has the instructions.
type Narrow<T> = unsafe fn(&[f32], &mut [T]);

/// A format that sums are rounded to.
pub(crate) trait Output: Copy + Send + Sync + bytemuck::Zeroable {
    const ZERO: Self;

    /// The same by an instruction, for [`Path::Avx512Bf16`] and above, where there is one.
    const BY_INSTRUCTION: Option<Narrow<Self>> = None;

    /// Rounds f32 sums, to nearest, ties to even.
    fn narrow(sums: &[f32], out: &mut [Self]);

    /// Rounds a wider number in one step, and tells apart what comes out.
    fn from_f64(x: f64) -> Self;

    /// Whether two results have the same bits.
    fn same(self, other: Self) -> bool;

    /// The rectangle as one that kernels round to themselves, if some do for this format.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only some machines have such kernels")
    )]
    fn sink(to: Patch<Self>) -> Result<Sink, Patch<Self>>;
}

impl Output for bf16 {
    const ZERO: Self = bf16::ZERO;
    #[cfg(target_arch = "x86_64")]
    const BY_INSTRUCTION: Option<Narrow<Self>> = Some(by_instruction);

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

    fn sink(to: Patch<Self>) -> Result<Sink, Patch<Self>> {
        Ok(Sink::Bf16(to))
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

    fn sink(to: Patch<Self>) -> Result<Sink, Patch<Self>> {
        Err(to)
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

    fn sink(to: Patch<Self>) -> Result<Sink, Patch<Self>> {
        Ok(Sink::F32(to))
    }
}

/// [`Output::narrow`] with the path's instructions. The bits are the same.
pub(crate) fn narrow<O: Output>(path: Path, sums: &[f32], out: &mut [O]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn wide<O: Output>(sums: &[f32], out: &mut [O]) {
        O::narrow(sums, out);
    }
    match (path, O::BY_INSTRUCTION) {
        // SAFETY: a path that a product runs on has been checked against the CPU.
        (Path::Avx512Bf16 | Path::AmxBf16, Some(narrow)) => unsafe { narrow(sums, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16, _) => unsafe { wide(sums, out) },
        _ => O::narrow(sums, out),
    }
}

/// [`Output::narrow`] by `vcvtneps2bf16`, which takes subnormal numbers for zero: where there are
/// any, all are rounded once more without it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
fn by_instruction(sums: &[f32], out: &mut [bf16]) {
    use std::arch::x86_64::{
        __m256bh, __m256i, _mm256_storeu_si256, _mm512_cvtneps_pbh, _mm512_fpclass_ps_mask, _mm512_loadu_ps,
    };
    const SUBNORMAL: i32 = 0x20;
    assert_eq!(sums.len(), out.len());
    let (sixteens, few) = sums.as_chunks::<16>();
    let (to, rest) = out.as_chunks_mut::<16>();
    let mut subnormal = 0;
    for (sums, to) in sixteens.iter().zip(to) {
        // SAFETY: sixteen numbers each; both sides of the transmutation are 256 bits without
        // invalid patterns.
        unsafe {
            let sums = _mm512_loadu_ps(sums.as_ptr());
            subnormal |= _mm512_fpclass_ps_mask::<SUBNORMAL>(sums);
            let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(sums));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), rounded);
        }
    }
    Output::narrow(few, rest);
    if subnormal != 0 {
        Output::narrow(sums, out);
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

/// Cuts a matrix into cells of `height` rows and `width` columns (fewer at the far ends), column of
/// cells by column.
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

    /// Some columns of some rows; both counted from the start of the matrix.
    ///
    /// # Panics
    /// If they are not this cell's.
    pub(crate) fn patch(&mut self, rows: Range<usize>, columns: Range<usize>) -> Patch<'_, T> {
        let within = |all: &Range<usize>, some: &Range<usize>| all.start <= some.start && some.end <= all.end;
        assert!(within(&self.rows, &rows), "rows {rows:?} of a cell of rows {:?}", self.rows);
        assert!(
            within(&self.columns, &columns),
            "columns {columns:?} of a cell of columns {:?}",
            self.columns
        );
        Patch {
            start: self.start.wrapping_add(rows.start * self.stride + columns.start),
            stride: self.stride,
            rows: rows.len(),
            width: columns.len(),
            owner: PhantomData,
        }
    }

    /// [`Cell::patch`] of a single row.
    pub(crate) fn part(&mut self, row: usize, columns: Range<usize>) -> &mut [T] {
        let width = columns.len();
        let mut patch = self.patch(row..row + 1, columns);
        // SAFETY: within the slice that `grid` was given, for as long as it was. Cells of one grid
        // do not overlap, and this one is borrowed mutably for as long as the part lives.
        unsafe { std::slice::from_raw_parts_mut(patch.row(0), width) }
    }
}

/// A rectangle of numbers for a kernel to write to.
pub(crate) struct Patch<'a, T> {
    start: *mut T,
    /// From one row to the next.
    stride: usize,
    rows: usize,
    width: usize,
    owner: PhantomData<&'a mut [T]>,
}

impl<'a, T> Patch<'a, T> {
    /// The first `width` numbers of each of some rows, which are `stride` apart.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn of(values: &'a mut [T], stride: usize, rows: usize, width: usize) -> Self {
        assert!(width <= stride && rows.saturating_sub(1) * stride + width <= values.len());
        Patch { start: values.as_mut_ptr(), stride, rows, width, owner: PhantomData }
    }

    /// The number of columns.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn rows(&mut self, first: usize, count: usize) -> Patch<'_, T> {
        assert!(first + count <= self.rows);
        let start = self.start.wrapping_add(first * self.stride);
        Patch { start, rows: count, owner: PhantomData, ..*self }
    }

    /// Where the row `row` begins, which is followed by as many numbers as the rectangle is wide.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> *mut T {
        assert!(row < self.rows);
        self.start.wrapping_add(row * self.stride)
    }
}

/// A rectangle of a format that some kernels round to themselves.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only some machines have such kernels"))]
pub(crate) enum Sink<'a> {
    F32(Patch<'a, f32>),
    Bf16(Patch<'a, bf16>),
}

impl<O: Output> Patch<'_, O> {
    /// Rounds sums, in rows of `stride`, after adding the bias of each column.
    ///
    /// # Panics
    /// If there are fewer sums.
    pub(crate) fn fill(self, path: Path, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
        assert!(self.width <= stride && sums.len() >= self.rows * stride);
        #[inline(always)]
        fn body<O: Output>(mut to: Patch<O>, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
            for (row, sums) in (0..to.rows).zip(sums.chunks_exact_mut(stride)) {
                let sums = &mut sums[..to.width];
                if let Some(bias) = bias {
                    sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
                }
                // SAFETY: a row of the rectangle, which was borrowed mutably.
                O::narrow(sums, unsafe { std::slice::from_raw_parts_mut(to.row(row), to.width) });
            }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        fn wide<O: Output>(to: Patch<O>, sums: &mut [f32], stride: usize, bias: Option<&[f32]>) {
            body(to, sums, stride, bias);
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
    fn every_path_rounds_by_the_definition() {
        let of = |uppers: std::ops::RangeInclusive<u16>| -> Vec<f32> {
            let lows = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
            uppers.flat_map(|upper| lows.map(|low| f32::from_bits(u32::from(upper) << 16 | low))).collect()
        };
        // With subnormal numbers among them, and without; infinities and NaN in both.
        for sums in [of(0..=u16::MAX), of(0x80..=0x7fff), of(0x80..=0x90)] {
            let want: Vec<u16> = sums.iter().map(|x| bf16_from_f32(*x).to_bits()).collect();
            for path in Path::available() {
                let mut out = vec![bf16::ZERO; sums.len()];
                narrow(path, &sums, &mut out);
                assert!(out.iter().zip(&want).all(|(out, want)| out.to_bits() == *want), "{path}");
            }
        }
    }

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
