//! Whether one array is made of the other by a rule that can be named.

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

/// One of the two arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first, the reference.
    A,
    /// The second.
    B,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Side::A => "a",
            Side::B => "b",
        })
    }
}

/// How one array follows from the other, verified bit by bit on every element.
///
/// Values are compared after exact widening: two NaNs are equal, +0 and -0 are not. The `Display` form is
/// what records and tables show, in terms of `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relation {
    /// Same format, same values: `b = a`.
    Identical,
    /// Same values in two formats: `same values, other dtype`.
    SameValues,
    /// Every sign is turned: `b = -a`.
    Negated,
    /// One side is the other, rounded: `b = round_bf16(a)`.
    Rounded {
        /// How.
        by: Rounding,
        /// The side that was rounded to give the other one.
        of: Side,
    },
    /// One side is an exact multiple of the other: `b = 0.5*a`.
    Scaled {
        /// The constant; every product with it is exact, none was rounded.
        by: f64,
        /// The side that is multiplied.
        of: Side,
    },
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Identical => f.write_str("b = a"),
            Relation::SameValues => f.write_str("same values, other dtype"),
            Relation::Negated => f.write_str("b = -a"),
            Relation::Rounded { by, of } => write!(f, "{} = {}", of.other(), by.formula(&of.to_string())),
            Relation::Scaled { by, of } => write!(f, "{} = {by}*{of}", of.other()),
        }
    }
}

/// Finds the simplest relation that holds on every element, or `None`: also if the lengths differ.
///
/// Where several hold, the first in this order is given: no change at all, a sign, a rounding of `a`,
/// a rounding of `b`, a constant factor. A rounding that changes nothing is never claimed, and no
/// factor is where fewer than two elements are non-zero.
///
/// ```
/// use ulpscope_floats::{Floats, Rounding};
/// use ulpscope_metrics::relation;
///
/// let a = Floats::from(vec![0.1f32, 0.2, 0.3]);
/// let said = |b: &Floats| relation(&a, b).map(|r| r.to_string());
/// assert_eq!(said(&Rounding::TruncateBf16.apply(&a)).as_deref(), Some("b = truncate_bf16(a)"));
/// assert_eq!(said(&Floats::from(vec![0.2f32, 0.4, 0.6])).as_deref(), Some("b = 2*a"));
/// assert_eq!(said(&Floats::from(vec![0.2f32, 0.4, 0.7])), None);
/// ```
pub fn relation(a: &Floats, b: &Floats) -> Option<Relation> {
    if a.len() != b.len() {
        return None;
    }
    TESTS.iter().find_map(|test| test(a, b))
}

/// One function per kind of relation, simplest first. Those that fail do so within the first elements.
const TESTS: [fn(&Floats, &Floats) -> Option<Relation>; 4] = [unchanged, negated, rounded, scaled];

fn unchanged(a: &Floats, b: &Floats) -> Option<Relation> {
    if a.dtype() == b.dtype() {
        let same =
            a.bytes() == b.bytes() || everywhere(a, b, |a, b| a.iter().zip(b).all(|(a, b)| same(*a, *b)));
        return same.then_some(Relation::Identical);
    }
    everywhere(a, b, |a, b| a.iter().zip(b).all(|(a, b)| same(*a, *b))).then_some(Relation::SameValues)
}

fn negated(a: &Floats, b: &Floats) -> Option<Relation> {
    everywhere(a, b, |a, b| a.iter().zip(b).all(|(a, b)| same(-a, *b))).then_some(Relation::Negated)
}

fn rounded(a: &Floats, b: &Floats) -> Option<Relation> {
    for (of, source, result) in [(Side::A, a, b), (Side::B, b, a)] {
        for by in Rounding::ALL {
            let mut piece = [0.0; PIECE];
            let follows = |source: &[f64], result: &[f64]| {
                let piece = &mut piece[..source.len()];
                // To nearest, as in PyTorch, if the source is f64; exact otherwise.
                piece.iter_mut().zip(source).for_each(|(p, x)| *p = *x as f32);
                by.round_slice(piece);
                piece.iter().zip(result).all(|(p, x)| same(f64::from(*p), *x))
            };
            if everywhere(source, result, follows) {
                return Some(Relation::Rounded { by, of });
            }
        }
    }
    None
}

fn scaled(a: &Floats, b: &Floats) -> Option<Relation> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        let mut nonzero = (0..source.len()).filter(|&i| source.get(i) != 0.0 && source.get(i).is_finite());
        let first = nonzero.next()?;
        nonzero.next()?; // one element alone is a multiple of anything
        let by = result.get(first) / source.get(first);
        let multiplies = |source: &[f64], result: &[f64]| {
            source.iter().zip(result).all(|(x, y)| same(x * by, *y) && exact(*x, by))
        };
        let usable = by.is_finite() && by != 0.0;
        (usable && everywhere(source, result, multiplies)).then_some(Relation::Scaled { by, of })
    })
}

/// Whether `x * y` is a number of f64, so that multiplying rounds nothing.
fn exact(x: f64, y: f64) -> bool {
    // The fused form rounds once, at the end, and so leaves what the product lost. That itself may get
    // lost below the smallest number, but 24-bit values and their quotients give no product that small.
    let product = x * y;
    !product.is_finite() || x.mul_add(y, -product) == 0.0
}

/// Bit-equal, or both NaN.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Elements that are widened and tested at a time.
const PIECE: usize = 512;

/// Whether `test` holds on every piece of the two arrays, widened to f64.
fn everywhere(a: &Floats, b: &Floats, mut test: impl FnMut(&[f64], &[f64]) -> bool) -> bool {
    let (mut wide_a, mut wide_b) = ([0.0; PIECE], [0.0; PIECE]);
    (0..a.len()).step_by(PIECE).all(|start| {
        let n = PIECE.min(a.len() - start);
        a.read_f64(start, &mut wide_a[..n]);
        b.read_f64(start, &mut wide_b[..n]);
        test(&wide_a[..n], &wide_b[..n])
    })
}

#[cfg(test)]
mod tests;
