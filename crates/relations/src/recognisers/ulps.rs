//! Two arrays of one format that are nowhere farther apart than a few of its numbers.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| 1.0 + (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from(a.to_f32().iter().enumerate().map(|(i, x)| if i % 2 == 0 { x.next_up() } else { *x }).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64], &Hints::default()).to_string();
//! assert!(statement.contains("of the elements differ, by at most 1 ulp"), "{statement}");
//! ```

use std::fmt;

use ulpscope_floats::{Float, Floats};

use crate::text;

/// Elements that differ by single steps of their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulps {
    /// Elements that differ.
    pub differing: usize,
    /// Those of them in which `b` is nearer to zero.
    pub toward_zero: usize,
    /// The largest distance in numbers of the format.
    pub largest: u64,
    /// All elements.
    pub len: usize,
}

impl Ulps {
    /// What leaves differences of this kind between two roundings of one array, which is not at
    /// hand.
    pub fn likely(&self) -> Option<&'static str> {
        let share = self.differing as f64 / self.len.max(1) as f64;
        let one_sided = self.toward_zero == self.differing || self.toward_zero == 0;
        match self.largest {
            1 if one_sided && share > 0.25 => Some("as between truncation and rounding to nearest"),
            1 if !one_sided && (0.005..0.1).contains(&share) => Some("as between one rounding and two"),
            1 if !one_sided && (0.2..0.3).contains(&share) => {
                Some("as between stochastic rounding and rounding to nearest")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Ulps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of the elements differ, by at most {} ulp, {} of them toward zero",
            text::percent(self.differing, self.len),
            self.largest,
            text::percent(self.toward_zero, self.differing),
        )?;
        self.likely().map_or(Ok(()), |likely| write!(f, " ({likely})"))
    }
}

/// Distances up to this are counted in ulps.
const MOST_ULPS: u64 = 2;

/// Two arrays of one format that are nowhere far apart.
pub(crate) fn ulps(a: &Floats, b: &Floats) -> Option<Ulps> {
    match (a, b) {
        (Floats::F64(a), Floats::F64(b)) => ulps_of(a, b),
        (Floats::F32(a), Floats::F32(b)) => ulps_of(a, b),
        (Floats::Bf16(a), Floats::Bf16(b)) => ulps_of(a, b),
        (Floats::F16(a), Floats::F16(b)) => ulps_of(a, b),
        _ => None,
    }
}

fn ulps_of<T: Float>(a: &[T], b: &[T]) -> Option<Ulps> {
    let mut found = Ulps { differing: 0, toward_zero: 0, largest: 0, len: a.len() };
    for (x, y) in a.iter().zip(b) {
        let (Some(x), Some(y)) = (x.rank(), y.rank()) else {
            return None;
        };
        let distance = x.abs_diff(y);
        if distance > MOST_ULPS {
            return None;
        }
        found.differing += usize::from(distance > 0);
        found.toward_zero += usize::from(y.abs() < x.abs());
        found.largest = found.largest.max(distance);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::{DType, Rounding};

    use super::*;
    use crate::samples::gaussian;

    #[test]
    fn two_roundings_of_one_array() {
        let x = gaussian(50_000, 3);
        let nearest = x.cast(DType::Bf16);
        let likely = |b: &Floats| ulps(&nearest, b).and_then(|u| u.likely());
        assert_eq!(
            likely(&Rounding::TruncateBf16.apply(&x)),
            Some("as between truncation and rounding to nearest")
        );
        assert_eq!(likely(&Rounding::NearestBf16ViaF16.apply(&x)), Some("as between one rounding and two"));
        assert_eq!(ulps(&nearest, &gaussian(50_000, 4).cast(DType::Bf16)), None);
        let said = ulps(&nearest, &Rounding::NearestBf16ViaF16.apply(&x)).unwrap().to_string();
        assert!(said.contains(" % of the elements differ, by at most 1 ulp, "), "{said}");
    }
}
