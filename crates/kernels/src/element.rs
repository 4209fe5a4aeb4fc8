//! Formats in which activations are stored and, between operations, rounded to.

use ulpscope_floats::{Floats, bf16, bf16_to_f32, f16, f16_to_f32, round_bf16, round_f16};

use crate::output::{Output, narrow};
use crate::spin_pool::for_each_part;
use crate::storage::Storage;
use crate::{KernelError, Path};

/// A storage format whose numbers are computed with in f32.
pub(crate) trait Element: Storage + Output {
    /// The number of this format nearest to `x`, ties to even, as f32.
    fn rounded(x: f32) -> f32;

    /// The typed slice, if the format is this one.
    fn of<'a>(x: &'a Floats) -> Option<&'a [Self]>;

    /// The numbers, with their format as data.
    fn wrap(x: Vec<Self>) -> Floats<'static>;

    /// The numbers, borrowed.
    fn view(x: &[Self]) -> Floats<'_>;

    /// Rounds numbers to this format where they lie. `room` is as long; what it holds is lost.
    #[inline(always)]
    fn round(path: Path, x: &mut [f32], room: &mut [Self]) {
        narrow(path, x, room);
        Self::read(room, x);
    }

    /// A run of numbers in f32.
    fn wide(x: &[Self]) -> Vec<f32> {
        let mut wide = vec![0.0; x.len()];
        Self::read(x, &mut wide);
        wide
    }

    /// Widens a run of numbers, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    fn read(x: &[Self], out: &mut [f32]);
}

impl Element for bf16 {
    #[inline(always)]
    fn rounded(x: f32) -> f32 {
        round_bf16(x)
    }

    fn of<'a>(x: &'a Floats) -> Option<&'a [Self]> {
        if let Floats::Bf16(x) = x { Some(x) } else { None }
    }

    fn wrap(x: Vec<Self>) -> Floats<'static> {
        Floats::from(x)
    }

    fn view(x: &[Self]) -> Floats<'_> {
        Floats::from(x)
    }

    #[inline(always)]
    fn read(x: &[Self], out: &mut [f32]) {
        bf16_to_f32(x, out);
    }
}

impl Element for f16 {
    #[inline(always)]
    fn rounded(x: f32) -> f32 {
        round_f16(x)
    }

    fn of<'a>(x: &'a Floats) -> Option<&'a [Self]> {
        if let Floats::F16(x) = x { Some(x) } else { None }
    }

    fn wrap(x: Vec<Self>) -> Floats<'static> {
        Floats::from(x)
    }

    fn view(x: &[Self]) -> Floats<'_> {
        Floats::from(x)
    }

    fn read(x: &[Self], out: &mut [f32]) {
        f16_to_f32(x, out);
    }
}

impl Element for f32 {
    #[inline(always)]
    fn rounded(x: f32) -> f32 {
        x
    }

    fn of<'a>(x: &'a Floats) -> Option<&'a [Self]> {
        if let Floats::F32(x) = x { Some(x) } else { None }
    }

    fn wrap(x: Vec<Self>) -> Floats<'static> {
        Floats::from(x)
    }

    fn view(x: &[Self]) -> Floats<'_> {
        Floats::from(x)
    }

    #[inline(always)]
    fn round(_: Path, _: &mut [f32], _: &mut [Self]) {}

    #[inline(always)]
    fn read(x: &[Self], out: &mut [f32]) {
        out.copy_from_slice(x);
    }
}

/// Runs `$body` with `$T` as the type of the elements, or returns the error that kernels do not
/// read the format.
macro_rules! with_element {
    ($dtype:expr, $what:literal, $T:ident => $body:expr) => {
        match $dtype {
            ulpscope_floats::DType::F32 => {
                type $T = f32;
                $body
            }
            ulpscope_floats::DType::Bf16 => {
                type $T = ulpscope_floats::bf16;
                $body
            }
            ulpscope_floats::DType::F16 => {
                type $T = ulpscope_floats::f16;
                $body
            }
            dtype => return Err($crate::KernelError::DType { what: $what, dtype }),
        }
    };
}
pub(crate) use with_element;

/// The elements of an argument that must have the format and the length of another.
pub(crate) fn expect<'a, T: Element>(
    x: &'a Floats,
    len: usize,
    what: &'static str,
) -> Result<&'a [T], KernelError> {
    if x.len() != len {
        return Err(KernelError::Length { what, expected: len, got: x.len() });
    }
    T::of(x).ok_or(KernelError::Mixed { what, expected: T::DTYPE, got: x.dtype() })
}

/// Refuses a run of numbers that is no whole number of rows.
pub(crate) fn expect_rows(x: &Floats, row: usize, what: &'static str) -> Result<(), KernelError> {
    if row == 0 {
        return Err(KernelError::Empty { what: "the length of a row" });
    }
    if x.len().is_multiple_of(row) { Ok(()) } else { Err(KernelError::Rows { what, row, got: x.len() }) }
}

/// Elements for which another thread pays.
pub(crate) const WORTH_A_THREAD: usize = 1 << 13;

/// [`fill_rows`] of a new array of `len` numbers.
pub(crate) fn map_rows<T: Element>(
    len: usize,
    row: usize,
    fill: impl Fn(usize, &mut [f32], &mut [T]) + Sync,
) -> Vec<T> {
    let mut out = vec![T::ZERO; len];
    fill_rows(&mut out, row, fill);
    out
}

/// Fills each row of `[rows, row]`, from several threads if there is enough to do. `fill` gets the
/// row's number, as much f32 to work in, and the row with what it holds.
pub(crate) fn fill_rows<T: Element>(
    out: &mut [T],
    row: usize,
    fill: impl Fn(usize, &mut [f32], &mut [T]) + Sync,
) {
    let rows = WORTH_A_THREAD.div_ceil(row);
    for_each_part(out, rows * row, |part, out| {
        let mut scratch = vec![0.0; row];
        out.chunks_exact_mut(row).enumerate().for_each(|(i, out)| fill(part * rows + i, &mut scratch, out));
    });
}

/// Numbers that stay in the cache between the steps of an operation.
const PIECE: usize = 512;

/// Fills a run of numbers in pieces that stay in the cache, from several threads if there is enough
/// to do. `fill` gets the places, as much f32 to work in, and the piece with what it holds.
pub(crate) fn fill_pieces<T: Element>(
    out: &mut [T],
    fill: impl Fn(std::ops::Range<usize>, &mut [f32], &mut [T]) + Sync,
) {
    for_each_part(out, WORTH_A_THREAD, |part, out| {
        let mut scratch = [0.0; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let start = part * WORTH_A_THREAD + i * PIECE;
            fill(start..start + out.len(), &mut scratch[..out.len()], out);
        }
    });
}

/// Changes a run of numbers by another, which is as long, as [`fill_pieces`] does. `fill` gets the
/// piece with what it holds, the other's, and twice as much f32 to work in.
pub(crate) fn fill_pairs<T: Element>(
    out: &mut [T],
    other: &[T],
    fill: impl Fn(&mut [T], &[T], [&mut [f32]; 2]) + Sync,
) {
    fill_pieces(out, |range, scratch, out| {
        let mut more = [0.0; PIECE];
        let more = &mut more[..out.len()];
        fill(out, &other[range], [scratch, more]);
    });
}
