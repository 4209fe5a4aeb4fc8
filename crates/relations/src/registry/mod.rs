//! All rules, in the order of their rank.
//!
//! To add one: write its file in `recognisers`, give it a variant of [`Relation`] or
//! [`Description`], and put a line at its rank into a table below.

use std::cell::OnceCell;

use ulpscope_floats::Floats;

use crate::moments::Moments;
use crate::rearrangement::{Rearranged, Rearrangement};
use crate::recognisers::layout::{aligned, permuted, shards, shifted, transposed};
use crate::recognisers::outlier_lines::OutlierLines;
use crate::recognisers::{
    affine, averaged, clamped, coded, distance, grouped, low_rank, mapped, misread, negated, neighbours,
    one_number, overflowed, partial, quantised, rotated, rounded, scaled, signs, ulps, unchanged,
};
use crate::relation::Relation;
use crate::statement::{Description, Statement};
use crate::view::View;
use crate::way::Way;

/// Rules of single elements, simplest first. Those that fail do so within the first elements.
const OF_ELEMENTS: [fn(&Floats, &Floats) -> Option<Relation>; 6] = [
    unchanged::unchanged,
    negated::negated,
    rounded::rounded,
    scaled::scaled,
    |a, b| neighbours::neighbours(a, b).map(Relation::Neighbours),
    |a, b| affine::affine(a, b).map(Relation::Affine),
];

/// Finds one kind of rearrangement, given the head counts of the model.
type OfPlaces = fn(&Way, &[usize]) -> Option<Rearrangement>;

/// Rearrangements of a matrix, with the head counts that are tried first.
const OF_PLACES: [OfPlaces; 5] = [
    |way, _| transposed::transposed(way.source, way.result, way.rows, way.columns),
    |way, heads| permuted::rows(way.source, way.result, way.rows, way.columns, heads),
    |way, heads| permuted::columns(way.source, way.result, way.rows, way.columns, heads),
    |way, _| shards::shards(way.source, way.result, way.rows, way.columns),
    |way, _| shifted::shifted(way.source, way.result, way.rows, way.columns),
];

/// Rules of whole tensors: first those that hold on every element, then what can be measured. If
/// none does, their [`distance`] is described.
const OF_TENSORS: [fn(&Pair) -> Option<Statement>; 20] = [
    |pair| pair.one_number(),
    |pair| pair.of_elements(),
    |pair| exact(misread::misread(pair.a, pair.b).map(Relation::Misread)),
    |pair| exact(mapped::mapped(pair.a, pair.b).map(Relation::Mapped)),
    |pair| exact(clamped::clamped(pair.a, pair.b).map(Relation::Clamped)),
    |pair| pair.one_element(),
    |pair| pair.rearranged(),
    |pair| exact(pair.partial().first().cloned()),
    |pair| exact(signs::signs(pair.a, pair.b)),
    |pair| exact(grouped::grouped(pair.a, pair.b, pair.rows, pair.columns).map(Relation::Grouped)),
    |pair| described(pair.outliers(OutlierLines::lost)),
    |pair| pair.quantised(),
    |pair| described(ulps::ulps(pair.a, pair.b).map(Description::Ulps)),
    |pair| described(coded::coded(pair.a, pair.b, pair.rows, pair.columns, pair.sqnr_db()?)),
    |pair| pair.averaged(),
    |pair| pair.aligned(),
    |pair| described(pair.outliers(|_| true)),
    |pair| pair.update(),
    |pair| pair.rotated(),
    |pair| pair.reduced(),
];

/// What is known about a tensor's role, to try the likely first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Head counts: of queries, of keys and values.
    pub heads: &'a [usize],
}

/// Finds the simplest relation that holds on every element, or `None`: also if the lengths differ.
///
/// This looks at pairs of elements only; [`describe`] also knows the shape. Where several hold, the
/// first in this order is given: no change at all, a sign, a common rounding of `a`, one of `b`
/// (unless one is made of the other by a constant), an exact factor, an uncommon rounding, a factor
/// or a constant summand up to one rounding. A rounding that changes nothing is never claimed, and
/// no factor is where fewer than two elements are non-zero (four, if results are rounded).
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
    OF_ELEMENTS.iter().find_map(|rule| rule(a, b))
}

/// The simplest rule by which one tensor follows from the other, both of `shape`, or how far apart
/// they are.
///
/// In this order: what [`relation`] says of single elements; bytes read wrongly; a clamp; one
/// changed element; the same numbers in other places; a few changed elements, or one place that
/// differs; signs; factors or summands by row, column, block or tile; a quantisation. Before most
/// of these, one side may have been rounded to the other's format. If none holds, the statement is
/// a [`Description`]. It takes a few passes at most: tests that fail do so early.
///
/// The first dimension counts as rows, all others together as columns. A shape that does not fit
/// the length is taken for a vector's.
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
    let pair = Pair {
        a,
        b,
        rows,
        columns,
        heads: hints.heads,
        ways: OnceCell::new(),
        partial: OnceCell::new(),
        outliers: OnceCell::new(),
        moments: OnceCell::new(),
    };
    let found = OF_TENSORS.iter().find_map(|rule| rule(&pair));
    found.unwrap_or_else(|| Statement::Described(distance::distance(pair.moments())))
}

/// The first dimension, and all others taken as one. A vector is a column; a shape that does not
/// fit, one too.
fn matrix(shape: &[usize], len: usize) -> (usize, usize) {
    match shape {
        [rows, rest @ ..] if shape.iter().product::<usize>() == len => (*rows, rest.iter().product()),
        _ => (len, 1),
    }
}

/// How the source was rearranged to give the result.
///
/// `heads` are the head counts that are tried first where rows were reordered; all that divide the
/// rows are.
pub(crate) fn rearrangement(way: &Way, heads: &[usize]) -> Option<Rearrangement> {
    OF_PLACES.iter().find_map(|rule| rule(way, heads))
}

fn exact(found: Option<Relation>) -> Option<Statement> {
    found.map(Statement::Exact)
}

fn described(found: Option<Description>) -> Option<Statement> {
    found.map(Statement::Described)
}

/// Signal-to-noise ratio of a quantisation to more than 4 bits.
const CODED_DB: f64 = 30.0;

/// Correlation below which two tensors may be near once one is rearranged.
const MISPLACED: f64 = 0.7;

/// Correlation from which on a difference may have a low rank. Unrelated numbers differ by a matrix
/// of as high a rank as they have themselves.
const RELATED: f64 = 0.5;

/// Two tensors of one length, with what more than one rule asks of them.
struct Pair<'a> {
    a: &'a Floats<'a>,
    b: &'a Floats<'a>,
    rows: usize,
    columns: usize,
    heads: &'a [usize],
    ways: OnceCell<Vec<Way<'a>>>,
    partial: OnceCell<Vec<Relation>>,
    outliers: OnceCell<Option<OutlierLines>>,
    moments: OnceCell<Moments>,
}

impl<'a> Pair<'a> {
    fn ways(&self) -> &[Way<'a>] {
        self.ways.get_or_init(|| Way::all(self.a, self.b, [self.rows, self.columns], relation))
    }

    /// What holds but for one place, for each way in which something does.
    fn partial(&self) -> &[Relation] {
        self.partial.get_or_init(|| self.ways().iter().filter_map(partial::partial).collect())
    }

    /// The description of rows or columns that are not like the others, if they are `wanted`.
    fn outliers(&self, wanted: impl Fn(&OutlierLines) -> bool) -> Option<Description> {
        let find = || OutlierLines::of(self.a, self.b, self.rows, self.columns);
        let found = self.outliers.get_or_init(find).as_ref().filter(|found| wanted(found))?;
        Some(found.described(self.a, self.b, |a, b, shape| describe(a, b, shape, &Hints::default())))
    }

    fn moments(&self) -> &Moments {
        self.moments.get_or_init(|| Moments::of(View::plain(self.a), View::plain(self.b)))
    }

    /// How near the two are. `None` of constants, and of tensors with NaNs: they lie on no grid and
    /// are near nothing.
    fn sqnr_db(&self) -> Option<f64> {
        let moments = self.moments();
        let numbers = moments.nan + moments.infinite == 0 && moments.constant().is_none();
        numbers.then(|| moments.sqnr_db(1.0))
    }

    fn one_number(&self) -> Option<Statement> {
        let value = one_number::one_number(self.a, self.b)?;
        let unrelated = relation(self.a, self.b).is_none();
        described(unrelated.then_some(Description::Constant { value }))
    }

    /// The rule of single elements; a rounding that made some infinite is told with their count.
    fn of_elements(&self) -> Option<Statement> {
        let found = relation(self.a, self.b)?;
        exact(Some(match found {
            Relation::Rounded { by, of } => {
                overflowed::overflowed(self.a, self.b, by, of).map_or(found, Relation::Overflowed)
            }
            _ => found,
        }))
    }

    /// One flipped bit is a simpler statement than any rearrangement, which it might pass for.
    fn one_element(&self) -> Option<Statement> {
        let one = |found: &&Relation| matches!(found, Relation::Few(few) if few.changed.len() == 1);
        exact(self.partial().iter().find(one).cloned())
    }

    fn rearranged(&self) -> Option<Statement> {
        exact(self.ways().iter().find_map(|way| {
            let by = rearrangement(way, self.heads)?;
            Some(Relation::Rearranged(Rearranged { by, rounded: way.source.rounding(), of: way.of }))
        }))
    }

    fn quantised(&self) -> Option<Statement> {
        let sqnr_db = self.sqnr_db()?;
        let found = quantised::quantised(self.a, self.b, self.rows, self.columns, sqnr_db)?;
        // What lies on a grid may be another tensor of that grid: the error of a quantisation has
        // no low rank.
        let coarse = sqnr_db < CODED_DB;
        let update = coarse.then(|| self.low_rank_update(sqnr_db)).flatten();
        described(update).or_else(|| exact(Some(Relation::Quantised(found))))
    }

    fn averaged(&self) -> Option<Statement> {
        self.sqnr_db()?;
        described(averaged::averaged(self.a, self.b, self.rows, self.columns, self.heads))
    }

    fn aligned(&self) -> Option<Statement> {
        self.sqnr_db()?;
        let far = self.moments().correlation() < MISPLACED;
        let align = || aligned::aligned(self.a, self.b, self.rows, self.columns, self.heads);
        let (by, moved) = far.then(align).flatten()?;
        let (gain, sqnr_db) = Moments::of(View::plain(&moved), View::plain(self.b)).near()?;
        let grid = || quantised::grid(&moved, self.b, self.rows, self.columns);
        let grid = if gain == 1.0 { grid() } else { None };
        described(Some(Description::Aligned { by, gain, sqnr_db, grid }))
    }

    fn update(&self) -> Option<Statement> {
        let sqnr_db = self.sqnr_db()?;
        let related = self.moments().correlation() > RELATED;
        described(related.then(|| self.low_rank_update(sqnr_db)).flatten())
    }

    fn low_rank_update(&self, sqnr_db: f64) -> Option<Description> {
        let (rank, sampled) = low_rank::of_difference(self.a, self.b, self.rows, self.columns)?;
        Some(Description::Update { rank, sampled, sqnr_db })
    }

    fn rotated(&self) -> Option<Statement> {
        self.sqnr_db()?;
        if self.moments().correlation() > RELATED {
            return None;
        }
        let (axis, apart) = rotated::rotated(self.a, self.b, self.rows, self.columns)?;
        described(Some(Description::Rotated { axis, apart }))
    }

    fn reduced(&self) -> Option<Statement> {
        let sqnr_db = self.sqnr_db()?;
        let (rank, sampled) = low_rank::of_second(self.a, self.b, self.rows, self.columns)?;
        described(Some(Description::Reduced { rank, sampled, sqnr_db }))
    }
}

#[cfg(test)]
mod relation_tests;
#[cfg(test)]
mod tests;
