//! A factor or a summand for each row, column, block or tile: scales that were dropped, or taken
//! from elsewhere.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from((0..512).map(|i| (i as f32).sin()).collect::<Vec<_>>());
//! let b = Floats::from((0..512).map(|i| a.get(i) as f32 * [0.5, 3.0, 7.0, 11.0][i / 128]).collect::<Vec<_>>());
//! let statement = describe(&a, &b, &[4, 128], &Hints::default()).to_string();
//! assert_eq!(statement, "b = round_f32(k*a), k per row (4 values from 0.5 to 11)");
//! ```

use std::fmt;

use ulpscope_floats::{DType, Floats};

use crate::cell::{Interval, Path, cell};
use crate::constant::shortest;
use crate::groups::Groups;
use crate::operation::{EVIDENCE, Fit, Operation};
use crate::side::Side;
use crate::text;
use crate::view::{View, format};

/// One side is the other times, or plus, a constant that each group of elements has for itself,
/// rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// Multiplied or added.
    pub operation: Operation,
    /// What shares a constant.
    pub groups: Groups,
    /// The constants, verified on every element; a group that says nothing (all zeros) has one that
    /// does nothing.
    pub constants: Vec<f64>,
    /// The format that the result was rounded to; `None` if nothing had to be rounded.
    pub to: Option<DType>,
    /// Whether both sides were rounded, after the constant was taken in or left out: then
    /// `constants` are such that numbers exist which round to the one side, and with the constant
    /// to the other.
    pub both: bool,
    /// The side that was changed to give the other one.
    pub of: Side,
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.of;
        let one = self.groups == Groups::Tensor;
        let k = if one { text::short(self.constants[0]) } else { "k".to_owned() };
        let inner = match self.operation {
            Operation::Times => format!("{k}*{of}"),
            Operation::Plus => format!("{of} + {k}"),
        };
        match self.to {
            _ if self.both => write!(f, "{} = {inner} up to the rounding of both", of.other())?,
            Some(to) => write!(f, "{} = round_{to}({inner})", of.other())?,
            None => write!(f, "{} = {inner}", of.other())?,
        }
        if one {
            return Ok(());
        }
        let low = self.constants.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.constants.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (groups, count) = (self.groups, self.constants.len());
        write!(f, ", k {groups} ({count} values from {} to {})", text::short(low), text::short(high))
    }
}

/// What scales are kept for, the coarsest first.
const GROUPS: [Groups; 6] = [
    Groups::Rows,
    Groups::Columns,
    Groups::Tiles(128),
    Groups::Blocks(128),
    Groups::Blocks(64),
    Groups::Blocks(32),
];

/// Elements that are looked at before all are.
const SAMPLE: usize = 4096;

/// Up to this many constants are made readable.
const READABLE: usize = 1 << 14;

/// `a` or `b`, of `rows` times `columns` elements, with constants by group; if there are none, `a`
/// with constants by group or for all of it such that both may be rounded.
pub(crate) fn grouped(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<Grouped> {
    let (format_a, format_b) = (format(a)?, format(b)?);
    if format_a == DType::F64 || format_b == DType::F64 {
        return None;
    }
    let (view_a, view_b) = (View::plain(a), View::plain(b));
    let forward = (Side::A, view_a, view_b, format_b);
    let backward = (Side::B, view_b, view_a, format_a);
    // What has the finer format is the likelier product.
    let ways = if format_b.contains(format_a) { [forward, backward] } else { [backward, forward] };
    let once = ways.into_iter().find_map(|(of, source, result, to)| {
        searches(source, result, None, to, rows, columns, &GROUPS).find_map(|search| search.run(of))
    });
    // Where all differ by an ulp at most, a common source needs no constants; it would take many
    // passes to see.
    once.or_else(|| {
        if common_source(view_a, view_b, format_a, format_b) {
            return None;
        }
        let groups = [&[Groups::Tensor], &GROUPS[..]].concat();
        searches(view_a, view_b, Some(format_a), format_b, rows, columns, &groups)
            .find_map(|search| search.run(Side::A))
    })
}

/// Whether a sample of elements may all be roundings of the same numbers.
fn common_source(a: View, b: View, format_a: DType, format_b: DType) -> bool {
    let len = a.len();
    let sample = len.min(SAMPLE);
    (0..sample).map(|i| i * (len / sample)).all(|i| {
        let (x, y) = (a.get(i), b.get(i));
        !x.is_finite() || !y.is_finite() || !cell(x, format_a).and(cell(y, format_b)).is_empty()
    })
}

fn searches<'a>(
    source: View<'a>,
    result: View<'a>,
    from: Option<DType>,
    to: DType,
    rows: usize,
    columns: usize,
    groups: &[Groups],
) -> impl Iterator<Item = Search<'a>> {
    groups
        .iter()
        .filter(move |groups| {
            let count = groups.count(rows, columns);
            (count > 1 || **groups == Groups::Tensor) && source.len() >= 2 * EVIDENCE * count
        })
        .flat_map(move |&groups| {
            Operation::ALL.map(|operation| Search {
                operation,
                groups,
                source,
                result,
                from,
                to,
                rows,
                columns,
            })
        })
}

/// A question about two matrices: is there a constant for each group?
struct Search<'a> {
    operation: Operation,
    groups: Groups,
    source: View<'a>,
    result: View<'a>,
    /// The format that the source was rounded to, if that is to be allowed for.
    from: Option<DType>,
    /// The format that the result was rounded to.
    to: DType,
    rows: usize,
    columns: usize,
}

impl Search<'_> {
    fn run(&self, of: Side) -> Option<Grouped> {
        let fits = self.fit()?;
        let found = |constants, to| Grouped {
            operation: self.operation,
            groups: self.groups,
            constants,
            to,
            both: self.from.is_some(),
            of,
        };
        if self.from.is_some() {
            // That no group's interval is empty is all there is to verify.
            let constants = fits.iter().map(|fit| self.candidates(fit, fits.len()).next());
            return Some(found(constants.collect::<Option<_>>()?, Some(self.to)));
        }
        [None, Some(Path::ViaF32), Some(Path::Direct)]
            .into_iter()
            .find_map(|path| Some(found(self.constants(&fits, path)?, path.map(|_| self.to))))
    }

    /// What the elements say about the constants of all groups, or `None` as soon as there is none
    /// for a group.
    fn fit(&self) -> Option<Vec<Fit>> {
        let Search { operation, groups, columns, .. } = *self;
        let count = groups.count(self.rows, columns);
        let mut fits = vec![Fit::NEW; count];
        let (mut x, mut y) = (vec![0.0; columns], vec![0.0; columns]);
        for row in 0..self.rows {
            // The first elements of a row mostly settle it.
            let width = columns.min(64);
            for (start, end) in [(0, width), (width, columns)] {
                self.source.read(row * columns + start, &mut x[start..end]);
                self.result.read(row * columns + start, &mut y[start..end]);
                for column in start..end {
                    let fit = &mut fits[groups.of(row, column, columns)];
                    fit.add(operation, x[column], y[column], self.from, self.to);
                    if fit.interval.is_empty() {
                        return None;
                    }
                }
            }
        }
        let coarsest = self.from.filter(|from| self.to.contains(*from)).unwrap_or(self.to);
        let (mut known, mut changed) = (0, 0);
        for fit in fits.iter().filter(|fit| fit.evidence >= EVIDENCE) {
            let neutral = fit.interval.contains(operation.neutral());
            if !neutral && !fit.tells(operation, coarsest) {
                return None;
            }
            known += 1;
            changed += usize::from(!neutral);
        }
        (known * 2 >= count && changed > 0).then_some(fits)
    }

    /// Constants of a group's interval, the simplest first.
    fn candidates(&self, fit: &Fit, count: usize) -> impl Iterator<Item = f64> + use<> {
        let Interval { low, high } = fit.interval;
        let neutral = self.operation.neutral();
        // A round number may lie on the very edge, where it rounds the other way; cells are a
        // little wide there.
        let round = (count <= READABLE && low * high > 0.0).then(|| shortest(fit.interval).0);
        let within = [0.5, 0.25, 0.75].map(|part| low + part * (high - low));
        let all = fit.interval.contains(neutral).then_some(neutral).into_iter().chain(round).chain(within);
        all.filter(|k| k.is_finite())
    }

    /// A constant for each group that leads to every one of its results, the simplest that does;
    /// `None` if there is none for a group. `path` is how results were rounded, if they were.
    fn constants(&self, fits: &[Fit], path: Option<Path>) -> Option<Vec<f64>> {
        let leads = |group: usize, k: f64| {
            self.groups.runs(group, self.rows, self.columns).all(|(start, len)| {
                (start..start + len).all(|i| {
                    let (z, y) = (self.operation.apply(self.source.get(i), k), self.result.get(i));
                    let z = path.map_or(z, |path| path.round(z, self.to));
                    z == y || (z.is_nan() && y.is_nan())
                })
            })
        };
        let constant =
            |(group, fit): (usize, &Fit)| self.candidates(fit, fits.len()).find(|k| leads(group, *k));
        fits.iter().enumerate().map(constant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{FORMATS, build, gaussian};

    const ROWS: usize = 256;
    const COLUMNS: usize = 384;

    fn said(a: &Floats, b: &Floats) -> String {
        grouped(a, b, ROWS, COLUMNS).map_or("none".to_owned(), |g| g.to_string())
    }

    /// `a` with the constant of each element's group taken into it.
    fn with(a: &Floats, operation: Operation, groups: Groups, k: impl Fn(usize) -> f64) -> Floats<'static> {
        build(a, |i| operation.apply(a.get(i), k(groups.of(i / COLUMNS, i % COLUMNS, COLUMNS))))
    }

    #[test]
    fn scales_and_offsets_of_every_kind_of_group() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 1).cast(dtype);
            for groups in GROUPS {
                let k = |group: usize| (3 + group * 7 % 13) as f64 / 10.0;
                let b = with(&a, Operation::Times, groups, k);
                let Some(found) = grouped(&a, &b, ROWS, COLUMNS) else { panic!("{dtype}, {groups}") };
                assert_eq!(
                    (found.operation, found.groups, found.to),
                    (Operation::Times, groups, Some(dtype))
                );
                let near = |(i, c): (usize, &f64)| (c / k(i) - 1.0).abs() < 0.01;
                assert!(found.constants.iter().enumerate().all(near), "{dtype} {groups}");
                let b = with(&a, Operation::Plus, groups, k);
                let Some(found) = grouped(&a, &b, ROWS, COLUMNS) else { panic!("{dtype}, {groups}") };
                assert_eq!((found.operation, found.groups, found.of), (Operation::Plus, groups, Side::A));
            }
        }
    }

    #[test]
    fn the_statement_gives_the_range() {
        let a = gaussian(ROWS * COLUMNS, 2).cast(DType::Bf16);
        let b = with(&a, Operation::Times, Groups::Tiles(128), |g| [0.3, 0.7, 1.1, 0.9, 0.5, 0.6][g]);
        assert_eq!(said(&a, &b), "b = round_bf16(k*a), k in tiles of 128x128 (6 values from 0.3 to 1.1)");
    }

    #[test]
    fn two_roundings_of_what_was_scaled() {
        let exact = gaussian(ROWS * COLUMNS, 5);
        let k = |group: usize| (3 + group * 7 % 13) as f64 / 10.0;
        for dtype in [DType::Bf16, DType::F16] {
            let a = exact.cast(dtype);
            let b = with(&exact, Operation::Times, Groups::Rows, k).cast(dtype);
            let found = grouped(&a, &b, ROWS, COLUMNS).unwrap();
            assert_eq!((found.both, found.groups, found.operation), (true, Groups::Rows, Operation::Times));
            let b = with(&exact, Operation::Plus, Groups::Blocks(128), k).cast(dtype);
            let found = grouped(&a, &b, ROWS, COLUMNS).unwrap();
            assert_eq!(
                (found.both, found.groups, found.operation),
                (true, Groups::Blocks(128), Operation::Plus)
            );
            let b = with(&exact, Operation::Times, Groups::Tensor, |_| 0.3).cast(dtype);
            assert_eq!(said(&a, &b), "b = 0.3*a up to the rounding of both");
            let off = build(&b, |i| b.get(i) * if i == 5000 { 1.05 } else { 1.0 });
            assert_eq!(said(&a, &off), "none");
        }
    }

    #[test]
    fn one_element_off_or_another_matrix_is_none() {
        for dtype in FORMATS {
            let a = gaussian(ROWS * COLUMNS, 3).cast(dtype);
            let good = with(&a, Operation::Times, Groups::Rows, |g| 0.3 + g as f64 * 0.01);
            for off in [0, 5000, ROWS * COLUMNS - 1] {
                let b = build(&good, |i| good.get(i) * if i == off { 1.2 } else { 1.0 });
                assert_eq!(said(&a, &b), "none");
            }
            assert_eq!(said(&a, &gaussian(ROWS * COLUMNS, 4).cast(dtype)), "none");
        }
    }
}
