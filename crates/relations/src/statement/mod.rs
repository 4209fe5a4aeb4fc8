//! The best that can be said about two tensors.

use std::fmt;

use ulpscope_floats::{Floats, Rounding};

use super::apart::Odd;
use super::description::{self, Description, Moments};
use super::view::{View, each, roundings};
use super::{
    Rearranged, Relation, Side, bytes, clamped, coded, grouped, heads, layout, mapped, partial, quantised,
    rank, relation, rotated,
};

/// Signal-to-noise ratio of a quantisation to more than 4 bits.
const CODED_DB: f64 = 30.0;

/// What is known about a tensor's role, to try the likely first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Head counts: of queries, of keys and values.
    pub heads: &'a [usize],
}

/// What two tensors have to do with each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// A rule, verified on every element.
    Exact(Relation),
    /// No rule was found; this is how far apart they are.
    Described(Description),
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::Exact(relation) => relation.fmt(f),
            Statement::Described(description) => description.fmt(f),
        }
    }
}

/// The simplest rule by which one tensor follows from the other, both of `shape`, or how far apart they are.
///
/// In this order: what [`relation`] says of single elements; bytes read wrongly; a clamp; one changed element; the same numbers in
/// other places; a few changed elements, or one place that differs; signs; factors or summands by row, column,
/// block or tile; a quantisation. Before most of these, one side may have been rounded to the other's format.
/// If none holds, the statement is a [`Description`]. It takes a few passes at most: tests that fail do so early.
///
/// The first dimension counts as rows, all others together as columns. A shape that does not fit the length is
/// taken for a vector's.
///
/// ```
/// use ulpscope_floats::Floats;
/// use ulpscope_relations::{Hints, describe};
///
/// let a = Floats::from((0..32).map(|i| i as f32 * 0.7 - 9.0).collect::<Vec<_>>());
/// let said = |pick: &dyn Fn(usize) -> f64| {
///     let b = Floats::from((0..32).map(|i| pick(i) as f32).collect::<Vec<_>>());
///     describe(&a, &b, &[8, 4], &Hints { heads: &[1] }).to_string()
/// };
/// // Eight rows of one head, in the order that GGUF files of Llama models have them in.
/// let rows = [0, 4, 1, 5, 2, 6, 3, 7];
/// let permuted = said(&|i| a.get(rows[i / 4] * 4 + i % 4));
/// assert_eq!(permuted, "b = a with rows permuted: interleaved layout of 1 head");
/// assert_eq!(said(&|i| if i / 4 == 5 { 0.0 } else { a.get(i) }), "b = a, except row 5, which are zero");
/// assert_eq!(said(&|i| a.get(i % 4 * 8 + i / 4)), "b = a taken as [4, 8] and transposed");
/// ```
pub fn describe(a: &Floats, b: &Floats, shape: &[usize], hints: &Hints) -> Statement {
    if a.len() != b.len() {
        return Statement::Described(Description::Lengths { len: [a.len(), b.len()] });
    }
    let (rows, columns) = matrix(shape, a.len());
    if let Some(value) = constant(a, b)
        && relation(a, b).is_none()
    {
        return Statement::Described(Description::Constant { value });
    }
    if let Some(exact) = exact(a, b, rows, columns, hints) {
        return Statement::Exact(exact);
    }
    let of_rest = |a: &Floats, b: &Floats, shape: &[usize]| describe(a, b, shape, &Hints::default());
    let odd = Odd::of(a, b, rows, columns);
    if let Some(odd) = odd.as_ref().filter(|odd| odd.lost()) {
        return Statement::Described(odd.described(a, b, of_rest));
    }
    let moments = Moments::of(View::plain(a), View::plain(b));
    let near = moments.sqnr_db(1.0);
    // Constants, and tensors with NaNs, lie on no grid and are near nothing.
    let numbers = moments.nan + moments.infinite == 0 && moments.constant().is_none();
    if let Some(found) = numbers.then(|| quantised::quantised(a, b, rows, columns, near)).flatten() {
        // What lies on a grid may be another tensor of that grid: the error of a quantisation has no low rank.
        let added = (near < CODED_DB).then(|| rank::of_difference(a, b, rows, columns)).flatten();
        if let Some((rank, sampled)) = added {
            return Statement::Described(Description::Update { rank, sampled, sqnr_db: near });
        }
        return Statement::Exact(Relation::Quantised(found));
    }
    if let Some(ulps) = description::ulps(a, b) {
        return Statement::Described(Description::Ulps(ulps));
    }
    if let Some(found) = numbers.then(|| coded::coded(a, b, rows, columns, near)).flatten() {
        return Statement::Described(found);
    }
    if let Some(found) = numbers.then(|| heads::averaged(a, b, rows, columns, hints.heads)).flatten() {
        return Statement::Described(found);
    }
    let aligned = (numbers && moments.correlation() < 0.7)
        .then(|| layout::aligned(a, b, rows, columns, hints.heads))
        .flatten();
    if let Some((by, moved)) = aligned
        && let Some((gain, sqnr_db)) = Moments::of(View::plain(&moved), View::plain(b)).near()
    {
        let grid = if gain == 1.0 { quantised::grid(&moved, b, rows, columns) } else { None };
        return Statement::Described(Description::Aligned { by, gain, sqnr_db, grid });
    }
    if let Some(odd) = odd {
        return Statement::Described(odd.described(a, b, of_rest));
    }
    let told = numbers.then(|| structured(a, b, rows, columns, &moments)).flatten();
    Statement::Described(told.unwrap_or_else(|| moments.describe()))
}

/// What is known of the whole of a difference, where nothing is known of single elements.
fn structured(a: &Floats, b: &Floats, rows: usize, columns: usize, moments: &Moments) -> Option<Description> {
    let (correlation, sqnr_db) = (moments.correlation(), moments.sqnr_db(1.0));
    // Numbers that have nothing to do with each other differ by a matrix of as high a rank as they have themselves.
    if correlation > 0.5 {
        let update = || {
            let (rank, sampled) = rank::of_difference(a, b, rows, columns)?;
            Some(Description::Update { rank, sampled, sqnr_db })
        };
        let reduced = || {
            let (rank, sampled) = rank::of_second(a, b, rows, columns)?;
            Some(Description::Reduced { rank, sampled, sqnr_db })
        };
        return update().or_else(reduced);
    }
    if let Some((axis, apart)) = rotated::rotated(a, b, rows, columns) {
        return Some(Description::Rotated { axis, apart });
    }
    let (rank, sampled) = rank::of_second(a, b, rows, columns)?;
    Some(Description::Reduced { rank, sampled, sqnr_db })
}

fn exact(a: &Floats, b: &Floats, rows: usize, columns: usize, hints: &Hints) -> Option<Relation> {
    if a.is_empty() {
        return relation(a, b);
    }
    if let Some(found) = relation(a, b) {
        return Some(overflow(a, b, found));
    }
    if let Some(misread) = bytes::misread(a, b) {
        return Some(Relation::Misread(misread));
    }
    if let Some(mapped) = mapped::mapped(a, b) {
        return Some(Relation::Mapped(mapped));
    }
    if let Some(clamped) = clamped::clamped(a, b) {
        return Some(Relation::Clamped(clamped));
    }
    let (plain_a, plain_b) = (View::plain(a), View::plain(b));
    let forward = roundings(a, b).into_iter().map(|a| (Side::A, a, plain_b));
    let backward = roundings(b, a).into_iter().skip(1).map(|b| (Side::B, b, plain_a));
    let ways: Vec<_> = forward.chain(backward).collect();
    // One flipped bit is a simpler statement than any rearrangement, which it might pass for.
    let partials: Vec<_> =
        ways.iter().filter_map(|&(of, a, b)| partial::partial(of, a, b, rows, columns)).collect();
    if let Some(one) = partials.iter().find(|p| matches!(p, Relation::Few(few) if few.changed.len() == 1)) {
        return Some(one.clone());
    }
    let rearranged = ways.iter().find_map(|&(of, a, b)| {
        let by = layout::rearrangement(a, b, rows, columns, hints.heads)?;
        Some(Relation::Rearranged(Rearranged { by, rounded: a.rounding(), of }))
    });
    rearranged
        .or_else(|| partials.into_iter().next())
        .or_else(|| signs(a, b))
        .or_else(|| grouped::grouped(a, b, rows, columns).map(Relation::Grouped))
}

/// The number that all of `b` is, if most of `a` is not: then that some elements of `a` are it, too, is chance.
fn constant(a: &Floats, b: &Floats) -> Option<f64> {
    let value = (!b.is_empty()).then(|| b.get(0))?;
    let is = |x: &Floats| (0..x.len()).filter(|&i| x.get(i) == value).count();
    let all = b.len() > 1 && b.get(b.len() - 1) == value && b.get(b.len() / 2) == value && is(b) == b.len();
    (all && is(a) * 2 < a.len()).then_some(value)
}

/// A rounding to f16 that made numbers infinite is told with their count.
fn overflow(a: &Floats, b: &Floats, found: Relation) -> Relation {
    let Relation::Rounded { by, of } = found else {
        return found;
    };
    let (source, result) = if of == Side::A { (a, b) } else { (b, a) };
    let through_f16 = matches!(by, Rounding::NearestF16 | Rounding::NearestBf16ViaF16);
    match if through_f16 { clamped::overflowed(source, result) } else { 0 } {
        0 => found,
        count => Relation::Overflowed(super::Overflowed { by, of, count, len: a.len() }),
    }
}

fn signs(a: &Floats, b: &Floats) -> Option<Relation> {
    let (a, b) = (View::plain(a), View::plain(b));
    if !each(a, b, |a, b| a.abs() == b.abs() || (a.is_nan() && b.is_nan())) {
        return None;
    }
    let turned = (0..a.len()).filter(|&i| a.get(i).is_sign_negative() != b.get(i).is_sign_negative()).count();
    Some(Relation::Signs { turned, len: a.len() })
}

/// The first dimension, and all others taken as one. A vector is a column; a shape that does not fit, one too.
fn matrix(shape: &[usize], len: usize) -> (usize, usize) {
    match shape {
        [rows, rest @ ..] if shape.iter().product::<usize>() == len => (*rows, rest.iter().product()),
        _ => (len, 1),
    }
}

#[cfg(test)]
mod tests;
