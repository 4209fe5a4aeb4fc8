//! Whether one tensor is made of another by a rule that has a name.
//!
//! - [`relation`]: the rule by which single elements follow: a rounding, a factor, a sign.
//! - [`describe`]: the same of two tensors with their shape, which may also be rearranged, damaged in one place,
//!   scaled by row or quantised. If no rule holds, it says how far apart they are.
//!
//! A rule counts only if every element obeys it, bit by bit. The crate is pure numbers: it knows no files, clocks
//! or randomness, and any number of threads gives the same answer.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_relations::{Hints, describe, relation};
//!
//! let a = Floats::from(vec![1.0f32, 0.697_830_6, -2.5, 0.25]);
//! let cast = a.cast(DType::Bf16);
//! assert_eq!(relation(&a, &cast).unwrap().to_string(), "b = round_bf16(a)");
//!
//! let transposed = Floats::from(vec![1.0f32, -2.5, 0.697_830_6, 0.25]);
//! let statement = describe(&a, &transposed, &[2, 2], &Hints::default());
//! assert_eq!(statement.to_string(), "b = a transposed");
//! ```

mod affine;
mod apart;
mod bytes;
mod cell;
mod clamped;
mod coded;
mod constant;
mod description;
mod grouped;
mod groups;
mod heads;
mod layout;
mod mapped;
mod neighbours;
mod partial;
mod quantised;
mod rank;
mod rotated;
mod simple;
mod statement;
mod text;
mod view;

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

pub use affine::{Affine, Operation};
pub use bytes::Misread;
pub use clamped::{Clamped, Overflowed};
pub use constant::{Constant, Form};
pub use description::{Description, Ulps};
pub use grouped::Grouped;
pub use groups::Groups;
pub use layout::{Axis, Edge, HeadLayout, Order, Rearranged, Rearrangement};
pub use mapped::{Function, Mapped};
pub use neighbours::{Neighbours, Rule};
pub use partial::{Change, Changed, Few, Partial, Place, Zeros};
pub use quantised::{Code, Grid, Misfit, Quantised};
pub use statement::{Hints, Statement, describe};

/// One of the two arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first, the reference.
    A,
    /// The second.
    B,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Side {
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

/// How one array follows from the other, verified on every element.
///
/// Values are compared after exact widening: two NaNs are equal, +0 and -0 are not. The `Display` form is
/// what records and tables show, in terms of `a` and `b`.
#[derive(Clone, Debug, PartialEq)]
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
    /// A multiple, or a sum with a constant, rounded once: `b = round_bf16(a + 1)`.
    Affine(Affine),
    /// Each element went to one of its neighbours in a format: `b = truncate_f16(a)`.
    Neighbours(Neighbours),
    /// A rounding that made some elements infinite.
    Overflowed(Overflowed),
    /// Large magnitudes were cut off.
    Clamped(Clamped),
    /// The same bytes, read wrongly: `b = the bytes of a in bf16, read as f16`.
    Misread(Misread),
    /// A function of each element: `b = sqrt(a)`.
    Mapped(Mapped),
    /// Magnitudes are the same, signs are not.
    Signs {
        /// Elements whose sign was turned.
        turned: usize,
        /// All elements.
        len: usize,
    },
    /// The same numbers in other places: `b = a transposed`.
    Rearranged(Rearranged),
    /// Equal but for a few elements, which are listed.
    Few(Few),
    /// Equal but for one place: `b = a, except row 7, where b = -a`.
    Partial(Partial),
    /// A factor or a summand for each row, column, block or tile: `b = k*a, k per row …`.
    Grouped(Grouped),
    /// Put on a grid: `b = a quantised in blocks of 32 to at most 16 levels, SQNR 20.9 dB (like q4_0)`. The grid is
    /// verified on every element; that it is a quantisation *of* `a` is said because the two are near.
    Quantised(Quantised),
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Identical => f.write_str("b = a"),
            Relation::SameValues => f.write_str("same values, other dtype"),
            Relation::Negated => f.write_str("b = -a"),
            Relation::Rounded { by, of } => write!(f, "{} = {}", of.other(), by.formula(&of.to_string())),
            Relation::Scaled { by, of } => write!(f, "{} = {by}*{of}", of.other()),
            Relation::Affine(affine) => affine.fmt(f),
            Relation::Neighbours(neighbours) => neighbours.fmt(f),
            Relation::Overflowed(overflowed) => overflowed.fmt(f),
            Relation::Clamped(clamped) => clamped.fmt(f),
            Relation::Misread(misread) => misread.fmt(f),
            Relation::Mapped(mapped) => mapped.fmt(f),
            Relation::Signs { turned, len } => {
                write!(f, "|b| = |a|, {} of the signs turned ({turned})", text::percent(*turned, *len))
            }
            Relation::Rearranged(rearranged) => rearranged.fmt(f),
            Relation::Few(few) => few.fmt(f),
            Relation::Partial(partial) => partial.fmt(f),
            Relation::Grouped(grouped) => grouped.fmt(f),
            Relation::Quantised(quantised) => quantised.fmt(f),
        }
    }
}

/// Finds the simplest relation that holds on every element, or `None`: also if the lengths differ.
///
/// This looks at pairs of elements only; [`describe`] also knows the shape. Where several hold, the first in
/// this order is given: no change at all, a sign, a common rounding of `a`, one of `b` (unless one is made of the
/// other by a constant), an exact factor, an uncommon rounding, a factor or a constant summand up to one rounding. A rounding that changes nothing is
/// never claimed, and no factor is where fewer than two elements are non-zero (four, if results are rounded).
///
/// ```
/// use ulpscope_floats::{Floats, Rounding};
/// use ulpscope_relations::relation;
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
    ELEMENTWISE.iter().find_map(|test| test(a, b))
}

/// One function per kind of relation, simplest first. Those that fail do so within the first elements.
const ELEMENTWISE: [fn(&Floats, &Floats) -> Option<Relation>; 6] = [
    simple::unchanged,
    simple::negated,
    rounded,
    simple::scaled,
    |a, b| neighbours::neighbours(a, b).map(Relation::Neighbours),
    |a, b| affine::affine(a, b).map(Relation::Affine),
];

/// A rounding, unless what was rounded is a multiple of what came of it: that `b` is `0.999 * a`, in a finer format, says
/// more than that `a` is `b` rounded.
fn rounded(a: &Floats, b: &Floats) -> Option<Relation> {
    let found = simple::rounded(a, b)?;
    let Relation::Rounded { of, .. } = found else {
        return Some(found);
    };
    let made = affine::affine(a, b).filter(|made| made.of == of.other());
    Some(made.map_or(found, Relation::Affine))
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

/// The README's example is about this crate and `metrics`, and runs with its tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
