//! Formats that keep one scale for a block of numbers.
//!
//! Each function replaces numbers by what is left of them once they are coded and read back.

use crate::round_f16;

/// The magnitudes of fp4 (e2m1), which mxfp4 and nvfp4 scale.
pub const E2M1: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The sixteen integers of llama.cpp's non-linear formats: ggml's `kvalues_iq4nl`.
pub const IQ4NL: [f64; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

/// The sixteen quantiles of QLoRA's NormalFloat, as bitsandbytes' kernels have them.
pub const NF4: [f64; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

/// How the code of a number in a q8_0 block is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Q8Coding {
    /// As llama.cpp does: by the scale before it is rounded to f16, ties away from zero.
    ScaleAsComputed,
    /// As PyTorch does: by the scale as it is kept in f16, ties to even.
    ScaleAsKept,
}

/// One block of q8_0: whole multiples, to 127, of a scale that is kept in f16. The arithmetic is in
/// f32.
///
/// ```
/// use ulpscope_floats::blocks::{Q8Coding, q8_0};
///
/// let mut block = [127.0, 0.6, -1.5];
/// q8_0(&mut block, Q8Coding::ScaleAsComputed);
/// assert_eq!(block, [127.0, 1.0, -2.0]);
/// ```
pub fn q8_0(block: &mut [f64], coding: Q8Coding) {
    let largest = block.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let scale = largest as f32 / 127.0;
    let kept = round_f16(scale);
    if kept > 0.0 {
        let code = |x: f32| match coding {
            Q8Coding::ScaleAsComputed => (x / scale).round(),
            Q8Coding::ScaleAsKept => (x / kept).round_ties_even(),
        };
        block.iter_mut().for_each(|x| *x = f64::from(code(*x as f32).clamp(-127.0, 127.0) * kept));
    }
}

/// One block of llama.cpp's q4_0: the number of the largest magnitude is the lowest of 16 codes.
///
/// ```
/// let mut block = [-8.0, 0.6, 7.6];
/// ulpscope_floats::blocks::q4_0(&mut block);
/// assert_eq!(block, [-8.0, 1.0, 7.0]);
/// ```
pub fn q4_0(block: &mut [f64]) {
    let largest = block.iter().copied().max_by(|x, y| x.abs().total_cmp(&y.abs())).unwrap_or(0.0);
    let scale = largest / -8.0;
    if scale != 0.0 {
        block.iter_mut().for_each(|x| *x = ((*x / scale + 8.5).floor().clamp(0.0, 15.0) - 8.0) * scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_codes_are_kept() {
        for coding in [Q8Coding::ScaleAsComputed, Q8Coding::ScaleAsKept] {
            let codes: Vec<f64> = (-127..=127).map(|code| f64::from(code) * 0.25).collect();
            let mut block = codes.clone();
            q8_0(&mut block, coding);
            assert_eq!(block, codes);
        }
        let codes: Vec<f64> = (-8..8).map(|code| f64::from(code) * 0.5).collect();
        let mut block = codes.clone();
        q4_0(&mut block);
        assert_eq!(block, codes);
        let mut zeros = [0.0; 4];
        q8_0(&mut zeros, Q8Coding::ScaleAsKept);
        q4_0(&mut zeros);
        assert_eq!(zeros, [0.0; 4]);
    }

    #[test]
    fn tables_are_sorted() {
        assert!([&E2M1[..], &IQ4NL, &NF4].iter().all(|table| table.is_sorted()));
    }
}
