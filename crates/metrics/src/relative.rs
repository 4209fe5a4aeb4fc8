//! The largest relative difference, for buffers.

use ulpscope_floats::Floats;

use crate::difference::same_length;
use crate::error::MetricsError;

/// Largest `|a - b| / |a|` over all elements, `a` being the reference.
///
/// Rounding to nearest keeps this below the format's unit roundoff, 2^-8 for bf16, as long as
/// nothing is subnormal. Equal values (two NaNs among them, and the two zeros) count as 0. Infinite
/// where `a` is zero and `b` is not, and where exactly one side is finite or the two are different
/// non-finite values. 0 for empty arrays.
///
/// # Errors
/// [`MetricsError::LengthMismatch`].
pub fn max_relative(a: &Floats, b: &Floats) -> Result<f64, MetricsError> {
    let len = same_length(a, b)?;
    Ok((0..len).map(|i| relative(a.get(i), b.get(i))).fold(0.0, f64::max))
}

fn relative(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs() / a.abs()
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ulpscope_floats::DType;

    use super::*;

    fn of(a: &[f64], b: &[f64]) -> f64 {
        max_relative(&Floats::from(a), &Floats::from(b)).unwrap()
    }

    #[test]
    fn stated_answers() {
        assert_eq!(of(&[], &[]), 0.0);
        assert_eq!(of(&[4.0, -2.0], &[4.0, -2.5]), 0.25);
        assert_eq!(of(&[0.0, f64::NAN, f64::INFINITY], &[-0.0, f64::NAN, f64::INFINITY]), 0.0);
        assert_eq!(of(&[0.0], &[1e-300]), f64::INFINITY);
        assert_eq!(of(&[1.0], &[f64::NAN]), f64::INFINITY);
        assert_eq!(of(&[f64::INFINITY], &[f64::NEG_INFINITY]), f64::INFINITY);
        let error = max_relative(&Floats::from(vec![1.0]), &Floats::from(vec![1.0f32; 2]));
        assert_eq!(error, Err(MetricsError::LengthMismatch { a: 1, b: 2 }));
    }

    proptest! {
        #[test]
        fn rounding_stays_below_the_unit_roundoff(x in prop::collection::vec(1e-4f32..6e4, 1..50)) {
            let a = Floats::from(x);
            for dtype in [DType::Bf16, DType::F16] {
                prop_assert!(max_relative(&a, &a.cast(dtype)).unwrap() <= dtype.unit_roundoff());
            }
        }
    }
}
