//! Numbers that somebody would have chosen, and vectors of numbers.

use ulpscope_floats::blocks::{self, Q8Coding};
use ulpscope_floats::fp8::{Fp8, Overflow};

/// A number that somebody would have chosen, if one is within two thousandths; else the number.
pub(crate) fn simple(x: f64) -> f64 {
    if !x.is_normal() {
        return x;
    }
    let digits = |digits: i32| {
        let unit = 10f64.powi(x.abs().log10().floor() as i32 + 1 - digits);
        (x / unit).round() * unit
    };
    let known = [digits(1), digits(2), 1.0 / (1.0 / x).round()];
    known.into_iter().find(|known| known.is_finite() && (known / x - 1.0).abs() < 2e-3).unwrap_or(x)
}

/// Where a function of numbers between two positive ones is least: by the golden section, on a
/// logarithmic scale.
pub(crate) fn least([low, high]: [f64; 2], function: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    const STEPS: usize = 40;
    let (mut low, mut high) = (low.ln(), high.ln());
    for _ in 0..STEPS {
        let (x, y) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
        if function(x.exp()) <= function(y.exp()) { high = y } else { low = x }
    }
    ((low + high) / 2.0).exp()
}

pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The largest magnitude.
pub(crate) fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// `e^x` of each number over their sum.
pub(crate) fn softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// `1 / (1 + e^-x)`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `x · sigmoid(x)`.
pub(crate) fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

/// Root of the mean of the squares.
pub(crate) fn rms(x: &[f64]) -> f64 {
    (dot(x, x) / x.len() as f64).sqrt()
}

/// Whether all numbers but the undefined ones are one, to a percent.
pub(crate) fn constant(values: &[f64]) -> bool {
    let known = || values.iter().filter(|x| x.is_finite());
    let largest = known().fold(0.0, |most: f64, x| most.max(x.abs()));
    known().all(|x| known().all(|y| (x - y).abs() <= 0.01 * largest))
}

/// Numbers rounded to so many bits, as someone quantises them: whole multiples of the largest
/// magnitude over the largest code. In f32, as it is done: what lies between two codes would else
/// be rounded the other way.
pub(crate) fn quantised(values: &mut [f64], bits: u32) {
    let most = ((1u32 << (bits - 1)) - 1) as f32;
    let scale = largest(values) as f32 / most;
    if scale > 0.0 {
        let code = |x: f64| (x as f32 / scale).round_ties_even().clamp(-most - 1.0, most);
        values.iter_mut().for_each(|x| *x = f64::from(code(*x) * scale));
    }
}

/// The same with the least number as the lowest code and the largest as the highest.
pub(crate) fn quantised_between(values: &mut [f64], bits: u32) {
    let codes = ((1u32 << bits) - 1) as f32;
    let least = values.iter().fold(f32::INFINITY, |least, x| least.min(*x as f32));
    let largest = values.iter().fold(f32::NEG_INFINITY, |largest, x| largest.max(*x as f32));
    let scale = (largest - least) / codes;
    if scale > 0.0 {
        let code = |x: f64| ((x as f32 - least) / scale).round_ties_even();
        values.iter_mut().for_each(|x| *x = f64::from(code(*x) * scale + least));
    }
}

/// Quantised as a block of llama.cpp's Q8_0: the scale is kept in f16.
pub(crate) fn q8_0(values: &mut [f64]) {
    blocks::q8_0(values, Q8Coding::ScaleAsComputed);
}

/// The same as PyTorch does it with the scale as it is kept, and ties to even.
pub(crate) fn q8_0_as_kept(values: &mut [f64]) {
    blocks::q8_0(values, Q8Coding::ScaleAsKept);
}

/// A number in fp8 with 3 bits of mantissa, of at most 448.
pub(crate) fn e4m3(x: f64) -> f64 {
    Fp8::E4m3.round(x, Overflow::Saturate)
}

/// A number in fp8 with 2 bits of mantissa, of at most 57344: traces come from programs that
/// saturate.
pub(crate) fn e5m2(x: f64) -> f64 {
    Fp8::E5m2.round(x, Overflow::Saturate)
}

/// Quantised in blocks of 32 as llama.cpp's Q4_0 has it.
pub(crate) fn q4_0(values: &mut [f64]) {
    values.chunks_mut(32).for_each(blocks::q4_0);
}

/// Functions of one number.
pub(crate) type Function = (&'static str, fn(f64) -> f64);

pub(crate) const FUNCTIONS: [Function; 9] = [
    ("silu", silu),
    ("relu", |x| x.max(0.0)),
    ("tanh", f64::tanh),
    ("sigmoid", sigmoid),
    ("gelu", |x| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh())),
    ("abs", f64::abs),
    ("square", |x| x * x),
    ("sqrt", f64::sqrt),
    ("exp", f64::exp),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_numbers_are_found() {
        for (x, chosen) in [(49.95, 50.0), (0.2203, 0.22), (1.0 / 7.01, 1.0 / 7.0), (1.2995, 1.3), (0.0, 0.0)]
        {
            assert!((simple(x) - chosen).abs() < 1e-12, "{x}");
        }
        assert_eq!((simple(1.2964), simple(f64::INFINITY)), (1.2964, f64::INFINITY));
    }

    #[test]
    fn numbers_are_quantised_as_documented() {
        let mut x = [-1.0, 0.3, 0.508, 1.27];
        quantised(&mut x, 8);
        assert!(x.iter().zip([-1.0, 0.3, 0.51, 1.27]).all(|(x, wanted)| (x - wanted).abs() < 1e-6), "{x:?}");
        let mut x = [0.0, 0.4, 1.0, 1.5];
        quantised_between(&mut x, 2);
        assert_eq!(x, [0.0, 0.5, 1.0, 1.5]);
        assert!(constant(&[1.0, f64::NAN, 1.005]) && !constant(&[1.0, 1.1]));
    }
}
