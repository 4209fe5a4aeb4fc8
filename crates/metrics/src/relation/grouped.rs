//! A factor or a summand for each row, column, block or tile: scales that were dropped, or taken from elsewhere.

use std::fmt;

use ulpscope_floats::{DType, Floats};

use super::affine::{EVIDENCE, Fit};
use super::cell::{Interval, Path};
use super::constant::shortest;
use super::view::{View, format};
use super::{Groups, Operation, Side, text};

/// One side is the other times, or plus, a constant that each group of elements has for itself, rounded once.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// Multiplied or added.
    pub operation: Operation,
    /// What shares a constant.
    pub groups: Groups,
    /// The constants, verified on every element; a group that says nothing (all zeros) has one that does nothing.
    pub constants: Vec<f64>,
    /// The format that the result was rounded to; `None` if nothing had to be rounded.
    pub to: Option<DType>,
    /// The side that was changed to give the other one.
    pub of: Side,
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = match self.operation {
            Operation::Times => format!("k*{}", self.of),
            Operation::Plus => format!("{} + k", self.of),
        };
        let formula = self.to.map_or(inner.clone(), |to| format!("round_{to}({inner})"));
        let low = self.constants.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.constants.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(
            f,
            "{} = {formula}, k {} ({} values from {} to {})",
            self.of.other(),
            self.groups,
            self.constants.len(),
            text::short(low),
            text::short(high),
        )
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

/// Up to this many constants are made readable.
const READABLE: usize = 1 << 14;

/// `a` or `b`, of `rows` times `columns` elements, with constants by group.
pub(crate) fn grouped(a: &Floats, b: &Floats, rows: usize, columns: usize) -> Option<Grouped> {
    let formats = [format(b), format(a)];
    let sides = [(Side::A, a, b, formats[0]), (Side::B, b, a, formats[1])];
    sides.into_iter().find_map(|(of, source, result, format)| {
        let format = format.filter(|format| *format != DType::F64)?;
        let (source, result) = (View::plain(source), View::plain(result));
        GROUPS.into_iter().find_map(|groups| {
            let count = groups.count(rows, columns);
            if count < 2 || a.len() < 2 * EVIDENCE * count {
                return None;
            }
            Operation::ALL.into_iter().find_map(|operation| {
                let fits = fit(operation, groups, source, result, format, columns, count)?;
                [None, Some(Path::ViaF32), Some(Path::Direct)].into_iter().find_map(|path| {
                    let constants =
                        constants(operation, groups, source, result, &fits, path, format, rows, columns)?;
                    Some(Grouped { operation, groups, constants, to: path.map(|_| format), of })
                })
            })
        })
    })
}

/// What the elements say about the constants of all groups, or `None` as soon as there is none for a group.
fn fit(
    operation: Operation,
    groups: Groups,
    source: View,
    result: View,
    format: DType,
    columns: usize,
    count: usize,
) -> Option<Vec<Fit>> {
    let mut fits = vec![Fit::NEW; count];
    let (mut x, mut y) = (vec![0.0; columns], vec![0.0; columns]);
    for row in 0..source.len() / columns {
        // The first elements of a row mostly settle it.
        let width = columns.min(64);
        for (from, to) in [(0, width), (width, columns)] {
            source.read(row * columns + from, &mut x[from..to]);
            result.read(row * columns + from, &mut y[from..to]);
            for column in from..to {
                let fit = &mut fits[groups.of(row, column, columns)];
                fit.add(operation, x[column], y[column], format);
                if fit.interval.is_empty() {
                    return None;
                }
            }
        }
    }
    let telling = fits.iter().filter(|fit| fit.evidence >= EVIDENCE);
    let (mut known, mut changed) = (0, 0);
    for fit in telling {
        let neutral = fit.interval.contains(operation.neutral());
        if !neutral && !fit.tells(operation, format) {
            return None;
        }
        known += 1;
        changed += usize::from(!neutral);
    }
    if known * 2 < count || changed == 0 {
        return None;
    }
    Some(fits)
}

/// A constant for each group that leads to every one of its results, the simplest that does; `None` if there is none
/// for a group. `path` is how results were rounded to `format`, if they were.
#[expect(clippy::too_many_arguments, reason = "one step of the search above, and all that it knows")]
fn constants(
    operation: Operation,
    groups: Groups,
    source: View,
    result: View,
    fits: &[Fit],
    path: Option<Path>,
    format: DType,
    rows: usize,
    columns: usize,
) -> Option<Vec<f64>> {
    let leads = |group: usize, k: f64| {
        groups.runs(group, rows, columns).all(|(start, len)| {
            (start..start + len).all(|i| {
                let (z, y) = (operation.apply(source.get(i), k), result.get(i));
                let z = path.map_or(z, |path| path.round(z, format));
                z == y || (z.is_nan() && y.is_nan())
            })
        })
    };
    let constant = |(group, fit): (usize, &Fit)| {
        let Interval { low, high } = fit.interval;
        let neutral = operation.neutral();
        // A round number may lie on the very edge, where it rounds the other way; cells are a little wide there.
        let round = (fits.len() <= READABLE && low * high > 0.0).then(|| shortest(fit.interval).0);
        let within = [0.5, 0.25, 0.75].map(|part| low + part * (high - low));
        let candidates =
            fit.interval.contains(neutral).then_some(neutral).into_iter().chain(round).chain(within);
        candidates.filter(|k| k.is_finite()).find(|k| leads(group, *k))
    };
    fits.iter().enumerate().map(constant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::samples::{FORMATS, build, gaussian};

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
