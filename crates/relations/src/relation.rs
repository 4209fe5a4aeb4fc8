//! Rules that were verified on every element, as data and as sentences.
//!
//! A partial relation holds another one for its place, which is why both are defined here.

use std::fmt;

use ulpscope_floats::Rounding;

use crate::place::Place;
use crate::rearrangement::Rearranged;
use crate::recognisers::affine::Affine;
use crate::recognisers::clamped::Clamped;
use crate::recognisers::grouped::Grouped;
use crate::recognisers::mapped::Mapped;
use crate::recognisers::misread::Misread;
use crate::recognisers::neighbours::Neighbours;
use crate::recognisers::overflowed::Overflowed;
use crate::recognisers::partial::few::Few;
use crate::recognisers::quantised::Quantised;
use crate::side::Side;
use crate::text;

/// How one array follows from the other, verified on every element.
///
/// Values are compared after exact widening: two NaNs are equal, +0 and -0 are not. The `Display`
/// form is what records and tables show, in terms of `a` and `b`.
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
    /// Put on a grid:
    /// `b = a quantised in blocks of 32 to at most 16 levels, SQNR 20.9 dB (like q4_0)`. The grid
    /// is verified on every element; that it is a quantisation *of* `a` is said because the two are
    /// near.
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

/// One side is the other, perhaps rounded, but for one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Where the two differ.
    pub place: Place,
    /// What lies there.
    pub change: Change,
    /// Elements that differ. (Some in that place may be equal by chance.)
    pub differing: usize,
    /// All elements.
    pub len: usize,
    /// How the rest was rounded, if it was.
    pub rounded: Option<Rounding>,
    /// The side that was changed to give the other one.
    pub of: Side,
}

/// What lies in the place that differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Zeros.
    Zero(Zeros),
    /// One number, over and over.
    Constant(f64),
    /// NaNs and infinities.
    NotFinite,
    /// What one side has elsewhere, too.
    Moved {
        /// The side that has it there.
        of: Side,
        /// Where that is.
        from: Place,
    },
    /// In all its rows or columns the mean of the others, as new tokens are initialised.
    Mean {
        /// The side that they are the mean of.
        of: Side,
    },
    /// What the relation says, taken over this place alone.
    Related(Box<Relation>),
    /// Not the same in all its rows, or columns: these, of which each is so throughout.
    Several(Vec<(Place, Change)>),
    /// Other numbers.
    Other,
}

/// Which elements were set to zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zeros {
    /// Those of the place.
    Place,
    /// All whose magnitude was below some number, the smallest power of two that fits: subnormals,
    /// or what pruning found too small.
    Below(f64),
    /// Two of every four neighbours.
    TwoOfFour,
    /// The same share of each row: what was least important there.
    EachRow,
}

impl fmt::Display for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of.to_string();
        let source = self.rounded.map_or(of.clone(), |by| by.formula(&of));
        let share = text::percent(self.differing, self.len);
        write!(f, "{} = {source}, except ", self.of.other())?;
        match (&self.change, &self.place) {
            (Change::Zero(Zeros::Below(limit)), _) => {
                let known = [(-126, "subnormals of f32 and bf16"), (-14, "subnormals of f16")];
                match known.iter().find(|(e, _)| f64::from(*e).exp2() == *limit) {
                    Some((_, name)) => write!(f, "{} {name}, which are zero", self.differing),
                    None => write!(f, "magnitudes below {}, which are zero ({share})", text::short(*limit)),
                }
            }
            (Change::Zero(Zeros::EachRow), _) => write!(f, "{share} of each row, which are zero"),
            (Change::Zero(Zeros::TwoOfFour), _) => {
                write!(f, "two of every four neighbours, which are zero ({share})")
            }
            (change, Place::Scattered) => write!(f, "{} elements{change} ({share})", self.differing),
            (Change::Several(parts), _) => {
                for (i, (place, change)) in parts.iter().enumerate() {
                    write!(f, "{}{place}{change}", if i == 0 { "" } else { ", and " })?;
                }
                Ok(())
            }
            (change, place) => write!(f, "{place}{change}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Zero(_) => f.write_str(", which are zero"),
            Change::Constant(x) => write!(f, ", which are all {}", text::exact(*x)),
            Change::NotFinite => f.write_str(", which are not finite"),
            Change::Mean { of } => write!(f, ", which are all the mean of {of}'s others"),
            Change::Moved { of, from } => write!(f, ", which are {of}'s {from}"),
            Change::Related(relation) => write!(f, ", where {relation}"),
            Change::Several(_) | Change::Other => f.write_str(", which differ"),
        }
    }
}
