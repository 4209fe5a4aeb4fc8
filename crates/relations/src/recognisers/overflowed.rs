//! A rounding to f16 that made some elements infinite.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from(vec![0.1f32, 70000.0]);
//! let statement = describe(&a, &a.cast(DType::F16), &[2], &Hints::default()).to_string();
//! assert_eq!(statement, "b = round_f16(a), of which 1 overflow to infinity (50 %)");
//! ```

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

use crate::side::Side;
use crate::text;
use crate::view::{View, tally};

/// A rounding whose range was too small:
/// `b = round_f16(a), of which 3 elements overflow to infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflowed {
    /// The rounding.
    pub by: Rounding,
    /// The side that was rounded.
    pub of: Side,
    /// Finite elements that became infinite.
    pub count: usize,
    /// All elements.
    pub len: usize,
}

impl fmt::Display for Overflowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overflowed { by, of, count, len } = *self;
        write!(
            f,
            "{} = {}, of which {count} overflow to infinity ({})",
            of.other(),
            by.formula(&of.to_string()),
            text::percent(count, len),
        )
    }
}

/// How many elements a rounding of one side made infinite, if it may do so and did.
pub(crate) fn overflowed(a: &Floats, b: &Floats, by: Rounding, of: Side) -> Option<Overflowed> {
    let (source, result) = if of == Side::A { (a, b) } else { (b, a) };
    let through_f16 = matches!(by, Rounding::NearestF16 | Rounding::NearestBf16ViaF16);
    let count = if through_f16 { infinite(source, result) } else { 0 };
    (count > 0).then_some(Overflowed { by, of, count, len: a.len() })
}

/// How many finite elements of `source` are infinite in `result`.
fn infinite(source: &Floats, result: &Floats) -> usize {
    let add = |count: &mut usize, _: usize, x: &[f64], y: &[f64]| {
        *count += x.iter().zip(y).filter(|(x, y)| x.is_finite() && y.is_infinite()).count();
        true
    };
    tally(View::plain(source), View::plain(result), || 0, add, |x, y| x + y).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::DType;

    use super::*;

    #[test]
    fn overflows_are_counted() {
        let a = Floats::from(vec![1.0f32, 70000.0, f32::INFINITY, f32::NAN, -1e30]);
        assert_eq!(infinite(&a, &a.cast(DType::F16)), 2);
        let said = Overflowed { by: Rounding::NearestF16, of: Side::A, count: 2, len: 5 }.to_string();
        assert_eq!(said, "b = round_f16(a), of which 2 overflow to infinity (40 %)");
    }
}
