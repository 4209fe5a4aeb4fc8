//! Large numbers: cut off at a limit, or grown infinite in a narrow format.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| (a.get(i) as f32).clamp(-0.5, 0.5)).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64], &Hints::default()).to_string();
//! assert!(statement.starts_with("b = a clamped to at most 0.5 in magnitude"), "{statement}");
//! ```

use std::fmt;

use ulpscope_floats::{DType, Floats, Rounding};

use crate::view::{View, each, roundings, same, tally};

/// `b` is `a`, perhaps rounded, with all magnitudes beyond a limit cut off to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamped {
    /// The largest magnitude left.
    pub limit: f64,
    /// How `a` was rounded, if it was.
    pub rounded: Option<Rounding>,
    /// Elements that were cut off.
    pub count: usize,
}

impl fmt::Display for Clamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clamped { limit, count, .. } = self;
        let a = self.rounded.map_or("a".to_owned(), |by| by.formula("a"));
        let what = if *count == 1 { "element" } else { "elements" };
        write!(f, "b = {a} clamped to at most {limit} in magnitude ({count} {what})")
    }
}

/// `a` is `b` after a clamp: of two elements at least, or of one at the end of a 16-bit format.
pub(crate) fn clamped(a: &Floats, b: &Floats) -> Option<Clamped> {
    let plain = View::plain(b);
    // The limit is the largest magnitude of `b`; the sum of two maxima is one whatever the order.
    let add = |largest: &mut f64, _: usize, _: &[f64], b: &[f64]| {
        *largest = b.iter().fold(*largest, |m, x| m.max(x.abs()));
        true
    };
    let first = View::plain(b).get(0);
    // Most arrays differ somewhere in the first few elements that lie well within any limit.
    let views: Vec<View> = roundings(a, b).into_iter().filter(|view| starts(*view, plain)).collect();
    if views.is_empty() || !first.is_finite() {
        return None;
    }
    let limit =
        tally(plain, plain, || 0.0, add, f64::max).filter(|limit| limit.is_finite() && *limit > 0.0)?;
    let cut = |x: f64| if x.abs() > limit { limit.copysign(x) } else { x };
    views.into_iter().find_map(|view| {
        if !each(view, plain, |x, y| same(cut(x), y)) {
            return None;
        }
        let add = |count: &mut usize, _: usize, a: &[f64], _: &[f64]| {
            *count += a.iter().filter(|x| x.abs() > limit).count();
            true
        };
        let count = tally(view, plain, || 0, add, |x, y| x + y)?;
        let telling =
            count > 1 || [DType::F16, DType::Bf16].into_iter().any(|format| -DType::min(format) == limit);
        (count > 0 && telling).then_some(Clamped { limit, rounded: view.rounding(), count })
    })
}

/// Whether the first elements agree, but for ones that may have been cut off.
fn starts(a: View, b: View) -> bool {
    (0..a.len().min(64)).all(|i| {
        let (x, y) = (a.get(i), b.get(i));
        same(x, y) || (x.abs() > y.abs() && x.is_sign_negative() == y.is_sign_negative())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    #[test]
    fn clamps_in_any_storage_and_after_a_rounding() {
        for dtype in FORMATS {
            let a = gaussian(5000, 1).cast(dtype);
            let b = build(&a, |i| a.get(i).clamp(-2.0, 2.0));
            let found = clamped(&a, &b).unwrap();
            assert_eq!((found.limit, found.rounded), (2.0, None));
            assert!(found.count > 100 && found.count < 400, "{}", found.count);
        }
        let a = Floats::from(vec![1.1f32, -70000.0, 3.0, 0.1]);
        let b = Floats::from(vec![1.1f32, -65504.0, 3.0, 0.1]).cast(DType::F16);
        let said = clamped(&a, &b).unwrap().to_string();
        assert_eq!(said, "b = round_f16(a) clamped to at most 65504 in magnitude (1 element)");
    }

    #[test]
    fn one_smaller_element_is_no_clamp() {
        let a = gaussian(500, 2);
        let b = build(&a, |i| if i == 7 { a.get(i) / 2.0 } else { a.get(i) });
        assert_eq!(clamped(&a, &b), None);
        assert_eq!(clamped(&a, &gaussian(500, 3)), None);
        assert_eq!(clamped(&a, &a), None);
    }
}
