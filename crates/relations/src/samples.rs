//! Arrays for tests: the same for the same seed.

use ulpscope_floats::random::SplitMix64;
use ulpscope_floats::{DType, Floats};

/// The formats that weights are stored in.
pub(crate) const FORMATS: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

/// About normally distributed f32 values with a standard deviation of 1, none of them zero.
pub(crate) fn gaussian(len: usize, seed: u64) -> Floats<'static> {
    let mut uniform = uniform(seed);
    let mut next = move || {
        let sum: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        if sum.abs() < 1e-6 { 1e-6 } else { sum as f32 }
    };
    Floats::from((0..len).map(|_| next()).collect::<Vec<f32>>())
}

/// Numbers in `[0, 1)`, by splitmix64.
pub(crate) fn uniform(seed: u64) -> impl FnMut() -> f64 {
    // Another multiplier than below: else one seed's numbers would be the next one's, a place
    // further on.
    let seed = seed.wrapping_add(1).wrapping_mul(0xd134_2543_de82_ef95);
    let mut random = SplitMix64::new(seed);
    move || random.unit()
}

/// The elements in an order, or with changes, that `pick` gives, stored as `x` is.
pub(crate) fn gather(x: &Floats, pick: impl Fn(usize) -> usize) -> Floats<'static> {
    build(x, |i| x.get(pick(i)))
}

/// As many elements as `x` has, made by `element`, stored as `x` is.
pub(crate) fn build(x: &Floats, element: impl Fn(usize) -> f64) -> Floats<'static> {
    Floats::from((0..x.len()).map(element).collect::<Vec<f64>>()).cast(x.dtype())
}
