//! Correctly rounded products of one row and one panel.
#![allow(unsafe_code)]

use crate::Path;
use crate::exact::ExactSum;
use crate::lanes::{Lanes, Portable};
use crate::output::Output;
use crate::storage::{Storage, WIDTH};

/// A sum in f64 and a bound on its error.
struct Estimate {
    sum: [f64; WIDTH],
    error: [f64; WIDTH],
}

/// `out[n] = Σ x[k]·w[n, k] + bias[n]`, rounded once.
///
/// A sum in f64 with a bound on its error settles nearly all outputs: if both ends of the interval
/// round to the same number, that is the answer. The others are summed again without any rounding.
pub(crate) fn exact_row<T: Storage, O: Output>(
    path: Path,
    x: &[f32],
    panel: &[T],
    bias: Option<&[f32]>,
    out: &mut [O],
) {
    let estimate = match path {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a path that a product runs on has been checked against the CPU.
        Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16 => unsafe { estimate_avx512(x, panel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Path::Avx2 => unsafe { estimate_avx2(x, panel) },
        _ => estimate(x, panel),
    };
    for (lane, out) in out.iter_mut().enumerate() {
        let bias = bias.map_or(0.0, |bias| bias[lane]);
        let (mut sum, mut error) = (estimate.sum[lane], estimate.error[lane]);
        if bias != 0.0 {
            sum += f64::from(bias);
            error += sum.abs() * f64::EPSILON;
        }
        let (low, high) = (O::from_f64((sum - error).next_down()), O::from_f64((sum + error).next_up()));
        *out = if low.same(high) {
            low
        } else {
            let mut exact = ExactSum::default();
            exact.add_product(bias, 1.0);
            for (k, x) in x.iter().enumerate() {
                let w = panel[k / 2 * 2 * WIDTH + T::position(lane, k % 2)];
                exact.add_product(*x, w.widen());
            }
            O::from_f64(exact.to_f64_odd())
        };
    }
}

/// Products of f32 numbers are exact in f64. Adding n of them one after the other is off by at most
/// n·2^-53·(1 + n·2^-53)·Σ|product|; four times that leaves room for the error of the second sum
/// and of this formula.
#[inline(always)]
fn estimate<T: Storage>(x: &[f32], panel: &[T]) -> Estimate {
    let (mut sum, mut size) = ([0.0f64; WIDTH], [0.0f64; WIDTH]);
    for (x, panel) in x.chunks(2).zip(panel.chunks_exact(2 * WIDTH)) {
        let mut w = [[0.0f32; WIDTH]; 2];
        // SAFETY: 32 numbers can be read, sixteen be written, and plain Rust runs everywhere.
        unsafe {
            let (even, odd) = T::pair::<Portable<true>>(panel.as_ptr());
            even.store(w[0].as_mut_ptr());
            odd.store(w[1].as_mut_ptr());
        }
        for (x, w) in x.iter().zip(&w) {
            for lane in 0..WIDTH {
                let product = f64::from(*x) * f64::from(w[lane]);
                sum[lane] += product;
                size[lane] += product.abs();
            }
        }
    }
    let bound = 4.0 * x.len() as f64 * (f64::EPSILON / 2.0);
    Estimate { sum, error: size.map(|size| size * bound) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn estimate_avx512<T: Storage>(x: &[f32], panel: &[T]) -> Estimate {
    estimate(x, panel)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn estimate_avx2<T: Storage>(x: &[f32], panel: &[T]) -> Estimate {
    estimate(x, panel)
}
