//! Arrays that are equal in most places: which elements, rows or blocks are not, and what happened to those.

mod few;
mod lines;
mod moved;
mod place;

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

pub use few::{Changed, Few};
pub use place::Place;

use super::view::{PIECE, View, same};
use super::{Relation, Side, relation, text};

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
    /// All whose magnitude was below some number, the smallest power of two that fits: subnormals, or what
    /// pruning found too small.
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

/// What is known about the elements that differ.
struct Differing {
    count: usize,
    first: usize,
    last: usize,
    rows: Vec<u32>,
    columns: Vec<bool>,
    /// The first few of them.
    some: Vec<usize>,
    zero: bool,
    constant: Option<f64>,
    not_finite: bool,
    /// The largest magnitude that differs, the smallest that does not.
    largest: f64,
    smallest_kept: f64,
    /// Equal elements that are not zero.
    kept: usize,
}

/// Elements that are looked at before all are.
const SAMPLE: usize = 1024;

/// The most elements that are taken out and tested for a relation of their own.
const INNER: usize = 1 << 24;

/// Finds a place outside which `a` equals `b`, of `rows` times `columns` elements.
///
/// Claimed where 5 % of all elements are equal if it is clear what lies in the place, else a quarter of them.
pub(crate) fn partial(of: Side, a: View, b: View, rows: usize, columns: usize) -> Option<Relation> {
    let len = a.len();
    let sample = SAMPLE.min(len);
    let equal = (0..sample).filter(|i| same(a.get(i * (len / sample)), b.get(i * (len / sample)))).count();
    if len == 0 || equal * 20 < sample {
        return None;
    }
    let d = differing(a, b, rows, columns);
    if d.count == 0 || d.kept == 0 || (len - d.count) * 20 < len {
        return None;
    }
    let few = (d.count <= few::MOST && d.count * 8 <= len).then(|| few::few(of, a, b, columns, &d.some));
    // Zeros and the like fill their place; what was equal there was so by chance.
    let constant = d.constant.filter(|x| x.is_finite());
    let whole = |place: &Place| {
        let all = |like: &dyn Fn(f64) -> bool| place.elements(rows, columns).all(|i| like(b.get(i)));
        match constant {
            _ if d.zero => all(&|y| y == 0.0),
            Some(x) => all(&|y| y == x),
            None if d.not_finite => all(&|y| !y.is_finite()),
            None => true,
        }
    };
    let place = place::place(&d, rows, columns, whole);
    let outside = len - place.size(&d, rows, columns);
    if outside * 20 < len {
        return None;
    }
    let change = change(&d, &place, of, a, b, (rows, columns));
    let (place, change) = match (few, place, change) {
        // A single element is best shown as it is, and so are several that no place gathers.
        (Some(few), place, change) => {
            // The smallest of all say so themselves.
            let smallest = matches!(change, Change::Zero(Zeros::Below(_)));
            let told = d.count >= 4 && change != Change::Other && (place != Place::Scattered || smallest);
            if !told {
                return Some(Relation::Few(few));
            }
            (place, change)
        }
        (None, Place::Scattered, Change::Other) => return None,
        (None, _, Change::Other) if outside * 4 < len => return None,
        (None, place, change) => (place, change),
    };
    let rounded = a.rounding();
    Some(Relation::Partial(Partial { place, change, differing: d.count, len, rounded, of }))
}

fn differing(a: View, b: View, rows: usize, columns: usize) -> Differing {
    let mut d = Differing {
        count: 0,
        first: usize::MAX,
        last: 0,
        rows: vec![0; rows],
        columns: vec![false; columns],
        some: Vec::new(),
        zero: true,
        constant: None,
        not_finite: true,
        largest: 0.0,
        smallest_kept: f64::INFINITY,
        kept: 0,
    };
    let mut one = true;
    let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
    for start in (0..a.len()).step_by(PIECE) {
        let n = PIECE.min(a.len() - start);
        a.read(start, &mut x[..n]);
        b.read(start, &mut y[..n]);
        for (i, (&x, &y)) in x[..n].iter().zip(&y[..n]).enumerate() {
            if same(x, y) {
                d.kept += usize::from(x != 0.0);
                if x != 0.0 && x.abs() < d.smallest_kept {
                    d.smallest_kept = x.abs();
                }
                continue;
            }
            let at = start + i;
            d.first = d.first.min(at);
            d.last = at;
            d.count += 1;
            d.rows[at / columns] += 1;
            d.columns[at % columns] = true;
            if d.some.len() < few::MOST {
                d.some.push(at);
            }
            d.zero &= y == 0.0;
            d.not_finite &= !y.is_finite();
            d.largest = if x.abs() > d.largest || x.is_nan() { x.abs() } else { d.largest };
            one &= *d.constant.get_or_insert(y) == y;
        }
    }
    d.constant = d.constant.filter(|_| one && d.count > 1);
    d
}

/// What lies in `place`.
fn change(
    d: &Differing,
    place: &Place,
    of: Side,
    a: View,
    b: View,
    (rows, columns): (usize, usize),
) -> Change {
    if d.zero {
        let limit = d.largest.log2().floor() + 1.0;
        let limit =
            [-126.0, -14.0].into_iter().find(|e| limit <= *e && e.exp2() <= d.smallest_kept).unwrap_or(limit);
        return Change::Zero(if d.largest < d.smallest_kept && *place == Place::Scattered {
            Zeros::Below(if limit.exp2() <= d.smallest_kept { limit.exp2() } else { d.smallest_kept })
        } else if *place == Place::Scattered && two_of_four(b) {
            Zeros::TwoOfFour
        } else if *place == Place::Scattered && even(&d.rows, columns) {
            Zeros::EachRow
        } else {
            Zeros::Place
        });
    }
    if let Some(x) = d.constant.filter(|x| x.is_finite()) {
        return Change::Constant(x);
    }
    if d.not_finite {
        return Change::NotFinite;
    }
    if let Some(moved) = moved::moved(place, of, a, b, (rows, columns)) {
        return moved;
    }
    if *place == Place::Scattered || place.size(d, rows, columns) > INNER {
        return Change::Other;
    }
    match related(place, of, a, b, (rows, columns)) {
        Change::Other => lines::several(place, of, a, b, (rows, columns)).unwrap_or(Change::Other),
        related => related,
    }
}

/// The relation between what lies in `place`; which side is which stays as it is.
fn related(place: &Place, of: Side, a: View, b: View, (rows, columns): (usize, usize)) -> Change {
    let take = |x: View| {
        let taken: Vec<f64> = place.elements(rows, columns).map(|i| x.get(i)).collect();
        Floats::from(taken).cast(x.rounding().map_or(x.floats().dtype(), Rounding::target))
    };
    let (source, result) = (take(a), take(b));
    let related = match of {
        Side::A => relation(&source, &result),
        Side::B => relation(&result, &source),
    };
    match related {
        Some(Relation::Identical | Relation::SameValues) | None => Change::Other,
        Some(relation) => Change::Related(Box::new(relation)),
    }
}

/// Whether about the same share of each row differs, and no small one.
fn even(rows: &[u32], columns: usize) -> bool {
    const LEAST: usize = 16;
    let (low, high) = (rows.iter().min(), rows.iter().max());
    let [low, high] = [low, high].map(|n| n.map_or(0, |n| *n as usize));
    rows.len() > 1 && low >= LEAST && low * 8 >= columns && (high - low) * 50 <= columns
}

/// Whether of all four neighbours two are zero, or more where some were before.
fn two_of_four(b: View) -> bool {
    let mut piece = [0.0; PIECE];
    let zeros = |four: &[f64]| four.iter().filter(|x| **x == 0.0).count();
    b.len().is_multiple_of(4)
        && (0..b.len()).step_by(PIECE).all(|start| {
            let piece = &mut piece[..PIECE.min(b.len() - start)];
            b.read(start, piece);
            piece.chunks(4).all(|four| zeros(four) >= 2)
        })
}

#[cfg(test)]
mod tests;
