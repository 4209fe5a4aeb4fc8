//! How many representable numbers lie between two arrays' elements.

use ulpscope_floats::{Float, Floats, ulp_distance};

use crate::difference::same_length;
use crate::error::MetricsError;

/// How many elements differ by how many ulps.
///
/// A histogram and not a maximum, because near zero a harmless difference counts thousands of ulps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UlpHistogram {
    /// Elements at distance 0, 1, 2, 3 to 8, and more than 8. The two zeros are at distance 0.
    pub counts: [u64; 5],
    /// Elements at which exactly one side is NaN, so that there is no distance. Two NaNs are at
    /// distance 0.
    pub nan: u64,
}

impl UlpHistogram {
    /// What each of [`UlpHistogram::counts`] counts, for tables and axes.
    pub const LABELS: [&'static str; 5] = ["0", "1", "2", "3-8", ">8"];
}

/// Counts the distances between two arrays of one format.
///
/// # Errors
/// [`MetricsError::LengthMismatch`]; [`MetricsError::DTypeMismatch`], as an ulp belongs to a
/// format.
///
/// ```
/// use ulpscope_floats::{DType, Floats};
/// use ulpscope_metrics::ulp_histogram;
///
/// let a = Floats::from(vec![1.0f32, 1.0, 1.0]).cast(DType::Bf16);
/// let b = Floats::from(vec![1.0f32, 1.0078125, 1.5]).cast(DType::Bf16);
/// assert_eq!(ulp_histogram(&a, &b)?.counts, [1, 1, 0, 0, 1]);
/// # Ok::<(), ulpscope_metrics::MetricsError>(())
/// ```
pub fn ulp_histogram(a: &Floats, b: &Floats) -> Result<UlpHistogram, MetricsError> {
    same_length(a, b)?;
    match (a, b) {
        (Floats::F64(a), Floats::F64(b)) => Ok(count(a, b)),
        (Floats::F32(a), Floats::F32(b)) => Ok(count(a, b)),
        (Floats::Bf16(a), Floats::Bf16(b)) => Ok(count(a, b)),
        (Floats::F16(a), Floats::F16(b)) => Ok(count(a, b)),
        _ => Err(MetricsError::DTypeMismatch { a: a.dtype(), b: b.dtype() }),
    }
}

fn count<T: Float>(a: &[T], b: &[T]) -> UlpHistogram {
    let mut histogram = UlpHistogram::default();
    for (&a, &b) in a.iter().zip(b) {
        let class = match ulp_distance(a, b) {
            Some(distance @ 0..=2) => distance as usize,
            Some(3..=8) => 3,
            Some(_) => 4,
            None if a.rank() == b.rank() => 0,
            None => {
                histogram.nan += 1;
                continue;
            }
        };
        histogram.counts[class] += 1;
    }
    histogram
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::{DType, bf16};

    use super::*;

    #[test]
    fn every_class_has_its_ends() {
        let steps = [0u16, 1, 2, 3, 8, 9];
        let a = Floats::from(vec![bf16::ONE; steps.len()]);
        let b = Floats::from(steps.map(|s| bf16::from_bits(bf16::ONE.to_bits() + s)).to_vec());
        assert_eq!(ulp_histogram(&a, &b).unwrap().counts, [1, 1, 1, 2, 1]);
        assert_eq!(ulp_histogram(&a, &b), ulp_histogram(&b, &a));
    }

    #[test]
    fn nan_and_zero_have_a_stated_answer() {
        let a = Floats::from(vec![f32::NAN, f32::NAN, 0.0]);
        let b = Floats::from(vec![f32::from_bits(0xff80_0001), 1.0, -0.0]);
        assert_eq!(ulp_histogram(&a, &b), Ok(UlpHistogram { counts: [2, 0, 0, 0, 0], nan: 1 }));
        let error = ulp_histogram(&a, &b.cast(DType::Bf16)).unwrap_err();
        assert!(error.to_string().contains("a is f32 and b is bf16"), "{error}");
    }
}
