//! One side is a function of the other, element by element, rounded once.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..64).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..64).map(|i| (a.get(i) as f32).exp()).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[64], &Hints::default()).to_string();
//! assert_eq!(statement, "b = exp(a)");
//! ```

use std::fmt;

use ulpscope_floats::Floats;

use crate::cell::Path;
use crate::side::Side;
use crate::view::{View, each, format};

/// One side is a function of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Which.
    pub function: Function,
    /// The side that it was taken of.
    pub of: Side,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `√x`.
    Root,
    /// `x²`.
    Square,
    /// `1/x`.
    Reciprocal,
    /// `1/√x`.
    ReciprocalRoot,
    /// `e^x`.
    Exponential,
    /// `|x|`.
    Magnitude,
}

impl Function {
    const ALL: [Function; 6] = [
        Function::Root,
        Function::Square,
        Function::Reciprocal,
        Function::ReciprocalRoot,
        Function::Exponential,
        Function::Magnitude,
    ];

    fn apply(self, x: f64) -> f64 {
        match self {
            Function::Root => x.sqrt(),
            Function::Square => x * x,
            Function::Reciprocal => x.recip(),
            Function::ReciprocalRoot => x.sqrt().recip(),
            Function::Exponential => x.exp(),
            Function::Magnitude => x.abs(),
        }
    }

    pub(crate) fn formula(self, x: &str) -> String {
        match self {
            Function::Root => format!("sqrt({x})"),
            Function::Square => format!("{x}²"),
            Function::Reciprocal => format!("1/{x}"),
            Function::ReciprocalRoot => format!("1/sqrt({x})"),
            Function::Exponential => format!("exp({x})"),
            Function::Magnitude => format!("|{x}|"),
        }
    }
}

impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.of.other(), self.function.formula(&self.of.to_string()))
    }
}

/// Elements that must have become others.
const EVIDENCE: usize = 8;

pub(crate) fn mapped(a: &Floats, b: &Floats) -> Option<Mapped> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        let to = format(result)?;
        let (x, y) = (View::plain(source), View::plain(result));
        // A library's exp may be a bit off; to the last bits of f32 that is no other function.
        let near = |z: f64, y: f64| z == y || (z - y).abs() <= 2.0 * to.unit_roundoff() * y.abs();
        Function::ALL.into_iter().find_map(|function| {
            let follows = |x: f64, y: f64| {
                let z = Path::ViaF32.round(function.apply(x), to);
                near(z, y) || (z.is_nan() && y.is_nan())
            };
            let starts = (0..x.len().min(EVIDENCE)).all(|i| follows(x.get(i), y.get(i)));
            if !starts || !each(x, y, follows) {
                return None;
            }
            let changed = (0..x.len()).filter(|&i| !near(x.get(i), y.get(i))).take(EVIDENCE).count();
            (changed == EVIDENCE).then_some(Mapped { function, of })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    #[test]
    fn functions_are_recognised_and_one_element_off_is_none() {
        for dtype in FORMATS {
            let positive = gaussian(1000, 1);
            let a = build(&positive, |i| positive.get(i).abs() + 0.25).cast(dtype);
            for function in Function::ALL.into_iter().filter(|f| *f != Function::Magnitude) {
                let b = build(&a, |i| function.apply(a.get(i)));
                let found = mapped(&a, &b).unwrap();
                assert_eq!(
                    (found.function.formula("a"), found.of),
                    (function.formula("a"), Side::A),
                    "{dtype}"
                );
                let off = build(&b, |i| if i == 700 { 1.5 * b.get(i) } else { b.get(i) });
                assert_eq!(mapped(&a, &off), None);
            }
            let signed = positive.cast(dtype);
            let b = build(&signed, |i| signed.get(i).abs());
            assert_eq!(mapped(&signed, &b).map(|m| m.to_string()).as_deref(), Some("b = |a|"));
            assert_eq!(mapped(&a, &a), None);
        }
    }
}
