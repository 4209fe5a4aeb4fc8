//! Is one array a multiple of the other, or the other plus a constant, up to one rounding of the
//! result?
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::relation;
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| a.get(i) as f32 + 1.0).collect::<Vec<_>>());
//! assert_eq!(relation(&a, &b).unwrap().to_string(), "b = round_f32(a + 1)");
//! ```

use std::fmt;

use ulpscope_floats::{DType, Floats};

use crate::cell::Path;
use crate::constant::Constant;
use crate::operation::{EVIDENCE, Fit, Operation};
use crate::side::Side;
use crate::view::{PIECE, View, each, format};

/// One side is `round(k * x)` or `round(x + k)` of the other: `b = round_bf16(a + 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Multiplied or added.
    pub operation: Operation,
    /// The constant. It is neither 0, nor a factor of 1.
    pub by: Constant,
    /// The format that the result was rounded to; `None` if nothing had to be rounded.
    pub to: Option<DType>,
    /// The side that was changed to give the other one.
    pub of: Side,
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of, by) = (self.of, self.by);
        let inner = match self.operation {
            Operation::Times => format!("{by}*{of}"),
            Operation::Plus if by.value < 0.0 => format!("{of} - {}", Constant { value: -by.value, ..by }),
            Operation::Plus => format!("{of} + {by}"),
        };
        match self.to {
            Some(to) => write!(f, "{} = round_{to}({inner})", of.other()),
            None => write!(f, "{} = {inner}", of.other()),
        }
    }
}

/// A multiple, or a sum with a constant, of `a` or of `b`.
pub(crate) fn affine(a: &Floats, b: &Floats) -> Option<Affine> {
    // What is stored in the finer format is the likelier product.
    let ways = if b.dtype().contains(a.dtype()) { [Side::A, Side::B] } else { [Side::B, Side::A] };
    ways.into_iter().find_map(|of| {
        let (source, result) = if of == Side::A { (a, b) } else { (b, a) };
        let format = format(result).filter(|format| *format != DType::F64)?;
        let (source, result) = (View::plain(source), View::plain(result));
        Operation::ALL.into_iter().find_map(|operation| one_way(operation, of, source, result, format))
    })
}

fn one_way(operation: Operation, of: Side, source: View, result: View, format: DType) -> Option<Affine> {
    let fit = fit(operation, source, result, format)?;
    let trivial = fit.interval.contains(operation.neutral());
    if fit.evidence < EVIDENCE || trivial || !fit.tells(operation, format) {
        return None;
    }
    let largest = (operation == Operation::Times).then(|| largest(source));
    Constant::candidates(fit.interval, largest).into_iter().find_map(|by| {
        let k = by.value;
        // A sum or product that f64 itself rounds shows no sign of it here, and is none of an exact
        // one.
        if each(source, result, |x, y| operation.apply(x, k) == y || (x.is_nan() && y.is_nan())) {
            return Some(Affine { operation, by, to: None, of });
        }
        let follows = |path: Path| {
            each(source, result, |x, y| {
                let z = path.round(operation.apply(x, k), format);
                z == y || (z.is_nan() && y.is_nan())
            })
        };
        Path::ALL.into_iter().any(follows).then_some(Affine { operation, by, to: Some(format), of })
    })
}

/// The fit over all elements, or `None` as soon as nothing fits.
fn fit(operation: Operation, source: View, result: View, format: DType) -> Option<Fit> {
    let (mut wide, mut narrow) = ([0.0; PIECE], [0.0; PIECE]);
    let len = source.len();
    let mut fit = Fit::NEW;
    for start in (0..len).step_by(PIECE) {
        let n = PIECE.min(len - start);
        source.read(start, &mut wide[..n]);
        result.read(start, &mut narrow[..n]);
        for (x, y) in wide[..n].iter().zip(&narrow[..n]) {
            fit.add(operation, *x, *y, None, format);
            if fit.interval.is_empty() {
                return None;
            }
        }
    }
    Some(fit)
}

/// The largest finite magnitude.
fn largest(x: View) -> f64 {
    let mut piece = [0.0; PIECE];
    let mut largest = 0.0f64;
    for start in (0..x.len()).step_by(PIECE) {
        let piece = &mut piece[..PIECE.min(x.len() - start)];
        x.read(start, piece);
        largest = piece.iter().filter(|x| x.is_finite()).fold(largest, |m, x| m.max(x.abs()));
    }
    largest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples::{FORMATS, gaussian};

    /// `f` of every element in f64, stored as `x` is.
    fn map(x: &Floats, f: impl Fn(f64) -> f64) -> Floats<'static> {
        let mapped: Vec<f64> = (0..x.len()).map(|i| f(x.get(i))).collect();
        Floats::from(mapped).cast(x.dtype())
    }

    fn said(a: &Floats, b: &Floats) -> String {
        affine(a, b).map_or("none".to_owned(), |r| r.to_string())
    }

    #[test]
    fn factors_and_summands_of_models() {
        for dtype in FORMATS {
            let a = gaussian(20_000, 1).cast(dtype);
            let b = map(&a, |x| x * f64::from(3f32));
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(3*a)"));
            let b = map(&a, |x| x * f64::from(0.1f32));
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(0.1*a)"));
            let b = map(&a, |x| x * 2048f64.sqrt());
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(sqrt(2048)*a)"));
            let b = map(&a, |x| x / 128f64.sqrt());
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(1/sqrt(128)*a)"));
            let b = map(&a, |x| x + 1.0);
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(a + 1)"));
            let b = map(&a, |x| x - 1.0);
            assert_eq!(said(&a, &b), format!("b = round_{dtype}(a - 1)"));
            assert_eq!(said(&b, &a), format!("a = round_{dtype}(b - 1)"));
        }
    }

    #[test]
    fn one_element_off_is_neither() {
        for dtype in FORMATS {
            let a = gaussian(3000, 2).cast(dtype);
            for f in [|x: f64| x * 0.3, |x: f64| x + 1.0] {
                let good = map(&a, f);
                assert_ne!(said(&a, &good), "none");
                for off in [0, 511, 2999] {
                    let mut values: Vec<f64> = (0..3000).map(|i| good.get(i)).collect();
                    values[off] *= 1.05;
                    assert_eq!(said(&a, &Floats::from(values).cast(dtype)), "none", "{dtype}, element {off}");
                }
            }
        }
    }

    #[test]
    fn what_fits_anything_is_not_claimed() {
        let constant = |x: f32| Floats::from(vec![x; 100]);
        assert_eq!(said(&constant(3.0), &constant(3.3)), "none");
        assert_eq!(said(&gaussian(100, 3), &constant(3.3)), "none");
        assert_eq!(said(&gaussian(3, 3), &map(&gaussian(3, 3), |x| x * 0.3)), "none");
        for seed in 0..20 {
            for dtype in FORMATS {
                let (a, b) = (gaussian(40, seed).cast(dtype), gaussian(40, seed + 100).cast(dtype));
                assert_eq!(said(&a, &b), "none");
            }
        }
    }

    #[test]
    fn a_norm_in_the_one_plus_convention() {
        let w = map(&gaussian(576, 4), |x| x * 0.05).cast(DType::Bf16);
        let b = map(&w, |x| x + 1.0);
        assert_eq!(said(&w, &b), "b = round_bf16(a + 1)");
        // Stored in f32, nothing is rounded.
        let b = map(&w.cast(DType::F32), |x| x + 1.0);
        assert_eq!(said(&w, &b), "b = a + 1");
    }

    proptest! {
        #[test]
        fn any_factor_is_found(k in 0.01f32..100.0, seed: u64, which in 0usize..3) {
            let k = f64::from(k);
            let a = gaussian(2000, seed).cast(FORMATS[which]);
            let b = map(&a, |x| x * k);
            prop_assume!((k.log2().fract() != 0.0) && (k - 1.0).abs() > 0.05);
            let found = affine(&a, &b).unwrap();
            prop_assert_eq!(found.operation, Operation::Times);
            prop_assert!(found.by.low <= k && k <= found.by.high, "{:?}", found);
        }
    }
}
