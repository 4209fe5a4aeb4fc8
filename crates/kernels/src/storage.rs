//! The formats that weights are held in, and where a panel keeps which element.
//!
//! A *panel* is the part of a weight that gives 16 outputs: for every pair of indices (k, k+1), 32
//! numbers in a row. A kernel streams through it, 16 outputs in one vector. Missing outputs and
//! what is missing of a last chunk of 32 indices are zeros.

use ulpscope_floats::{bf16, f16};

use crate::Path;
use crate::lanes::{Lanes, pack_squares};
use crate::range::Bits;

/// Outputs of a panel.
pub(crate) const WIDTH: usize = 16;
/// Indices k of a chunk. A panel holds whole chunks.
pub(crate) const CHUNK: usize = 32;

/// A format that kernels read.
pub(crate) trait Storage: Bits + Send + Sync {
    /// Where the numbers of a pair lie: of output `lane`, the even (0) or odd (1) index.
    fn position(lane: usize, odd: usize) -> usize;

    /// The number as f32, exactly.
    fn widen(self) -> f32;

    /// The even and the odd numbers of the pair at `p`, as f32.
    ///
    /// # Safety
    /// 32 numbers can be read from `p`, and the CPU has the instructions of `L`.
    #[allow(unsafe_code)]
    unsafe fn pair<L: Lanes>(p: *const Self) -> (L, L);
}

impl Storage for bf16 {
    /// Both halves of one 32-bit word: the even one is a shift away from f32, the odd one a mask.
    #[inline(always)]
    fn position(lane: usize, odd: usize) -> usize {
        2 * lane + odd
    }

    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn pair<L: Lanes>(p: *const Self) -> (L, L) {
        // SAFETY: as the caller promises.
        unsafe { L::bf16_pairs(p) }
    }
}

macro_rules! one_vector_each {
    ($t:ty, $load:ident) => {
        impl Storage for $t {
            #[inline(always)]
            fn position(lane: usize, odd: usize) -> usize {
                WIDTH * odd + lane
            }

            fn widen(self) -> f32 {
                self.into()
            }

            #[inline(always)]
            #[allow(unsafe_code)]
            unsafe fn pair<L: Lanes>(p: *const Self) -> (L, L) {
                // SAFETY: as the caller promises; the second vector starts at the 16th of the 32
                // numbers.
                unsafe { (L::$load(p), L::$load(p.add(WIDTH))) }
            }
        }
    };
}
one_vector_each!(f16, f16);
one_vector_each!(f32, f32);

/// The elements of a panel for K = `length`.
pub(crate) fn panel_len(length: usize) -> usize {
    length.next_multiple_of(CHUNK) * WIDTH
}

/// Fills a panel with the outputs from `first` on of a row-major weight `[N, length]`.
pub(crate) fn pack_panel<T: Storage>(path: Path, rows: &[T], length: usize, first: usize, panel: &mut [T]) {
    let outputs = (rows.len() / length - first).min(WIDTH);
    let rows = &rows[first * length..(first + outputs) * length];
    let done = if outputs == WIDTH { pack_squares(path, rows, length, panel) } else { 0 };
    let rest = &mut panel[done * WIDTH..];
    if outputs < WIDTH {
        rest.fill(T::zeroed());
    } else {
        rest[(length / 2 * 2 - done) * WIDTH..].fill(T::zeroed());
    }
    for (lane, row) in rows.chunks_exact(length).enumerate() {
        let mut pairs = row[done..].chunks_exact(2);
        let mut places = rest.chunks_exact_mut(2 * WIDTH);
        for (pair, to) in pairs.by_ref().zip(&mut places) {
            to[T::position(lane, 0)] = pair[0];
            to[T::position(lane, 1)] = pair[1];
        }
        if let ([last], Some(to)) = (pairs.remainder(), places.next()) {
            to[T::position(lane, 0)] = *last;
        }
    }
}

/// Runs `$body` with the typed slice in a run of numbers, or returns the error that kernels do not
/// read its format.
macro_rules! with_storage {
    ($floats:expr, $what:literal, $v:ident => $body:expr) => {
        match $floats {
            ulpscope_floats::Floats::F32($v) => $body,
            ulpscope_floats::Floats::Bf16($v) => $body,
            ulpscope_floats::Floats::F16($v) => $body,
            ulpscope_floats::Floats::F64(_) => {
                return Err($crate::KernelError::DType { what: $what, dtype: ulpscope_floats::DType::F64 });
            }
        }
    };
}
pub(crate) use with_storage;

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Storage + PartialEq + std::fmt::Debug>(make: fn(f32) -> T) {
        for (n, length) in [(1, 1), (16, 2), (17, 33), (5, 64), (40, 71), (16, 32), (33, 160)] {
            let rows: Vec<T> = (0..n * length).map(|i| make(i as f32 % 251.0 + 1.0)).collect();
            for first in (0..n).step_by(WIDTH) {
                for path in Path::available() {
                    let mut panel = vec![make(-1.0); panel_len(length)];
                    pack_panel(path, &rows, length, first, &mut panel);
                    for k in 0..length.next_multiple_of(CHUNK) {
                        for lane in 0..WIDTH {
                            let got = panel[k / 2 * 2 * WIDTH + T::position(lane, k % 2)];
                            let inside = k < length && first + lane < n;
                            let want = if inside { rows[(first + lane) * length + k] } else { make(0.0) };
                            assert_eq!(
                                got,
                                want,
                                "{path}: output {}, k {k} of [{n}, {length}]",
                                first + lane
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_element_is_where_it_should_be() {
        check::<f32>(|x| x);
        check::<bf16>(bf16::from_f32);
        check::<f16>(f16::from_f32);
    }
}
