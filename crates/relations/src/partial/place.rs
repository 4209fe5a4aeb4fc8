//! Where elements that differ lie.

use std::fmt;
use std::ops::Range;

use super::Differing;

/// A part of an array of rows and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Neighbouring rows.
    Rows(Range<usize>, /** Rows there are. */ usize),
    /// Neighbouring columns.
    Columns(Range<usize>, /** Columns there are. */ usize),
    /// Neighbouring rows of neighbouring columns.
    Block(Range<usize>, Range<usize>),
    /// Elements in the order in which they are stored.
    Span(Range<usize>, /** Elements there are. */ usize),
    /// Rows here and there.
    SomeRows(Vec<usize>, /** Rows there are. */ usize),
    /// Columns here and there.
    SomeColumns(Vec<usize>, /** Columns there are. */ usize),
    /// Elements here and there.
    Scattered,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |r: &Range<usize>, what: &str, all: usize| match (r.len(), r.end == all) {
            (1, _) => format!("{what} {}", r.start),
            (_, true) => format!("{what}s {} to the end ({all})", r.start),
            _ => format!("{what}s {} to {}", r.start, r.end - 1),
        };
        let some = |list: &[usize], what: &str, all: usize| {
            let shown: Vec<_> = list.iter().take(8).map(ToString::to_string).collect();
            let more = if list.len() > 8 { ", …" } else { "" };
            format!("{} of {all} {what}s ({}{more})", list.len(), shown.join(", "))
        };
        f.write_str(&match self {
            Place::Rows(r, all) => range(r, "row", *all),
            Place::Columns(r, all) => range(r, "column", *all),
            Place::Block(r, c) => {
                format!("{} of {}", range(c, "column", usize::MAX), range(r, "row", usize::MAX))
            }
            Place::Span(r, all) => range(r, "element", *all),
            Place::SomeRows(list, all) => some(list, "row", *all),
            Place::SomeColumns(list, all) => some(list, "column", *all),
            Place::Scattered => "some elements".to_owned(),
        })
    }
}

impl Place {
    /// The flat indices of its elements, of a matrix of `rows` and `columns`. None if they are scattered.
    pub(crate) fn elements(&self, rows: usize, columns: usize) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Place::Rows(r, _) => Box::new(r.start * columns..r.end * columns),
            Place::Columns(c, _) => {
                Box::new((0..rows).flat_map(move |row| c.clone().map(move |column| row * columns + column)))
            }
            Place::Block(r, c) => {
                Box::new(r.clone().flat_map(move |row| c.clone().map(move |column| row * columns + column)))
            }
            Place::Span(r, _) => Box::new(r.clone()),
            Place::SomeRows(list, _) => {
                Box::new(list.iter().flat_map(move |row| row * columns..(row + 1) * columns))
            }
            Place::SomeColumns(list, _) => {
                Box::new((0..rows).flat_map(move |row| list.iter().map(move |column| row * columns + column)))
            }
            Place::Scattered => Box::new(std::iter::empty()),
        }
    }

    /// Its rows or columns, how many there are in all, and whether they are rows.
    pub(super) fn lines(&self) -> Option<(Vec<usize>, usize, bool)> {
        match self {
            Place::Rows(r, all) => Some((r.clone().collect(), *all, true)),
            Place::SomeRows(list, all) => Some((list.clone(), *all, true)),
            Place::Columns(c, all) => Some((c.clone().collect(), *all, false)),
            Place::SomeColumns(list, all) => Some((list.clone(), *all, false)),
            Place::Block(..) | Place::Span(..) | Place::Scattered => None,
        }
    }

    /// The place of these rows or columns, at least one, in order, of so many.
    pub(crate) fn of_lines(lines: Vec<usize>, all: usize, rows: bool) -> Self {
        let whole = lines[0]..lines[lines.len() - 1] + 1;
        match (whole.len() == lines.len(), rows) {
            (true, true) => Place::Rows(whole, all),
            (true, false) => Place::Columns(whole, all),
            (false, true) => Place::SomeRows(lines, all),
            (false, false) => Place::SomeColumns(lines, all),
        }
    }

    /// How many elements it has.
    pub(super) fn size(&self, d: &Differing, rows: usize, columns: usize) -> usize {
        match self {
            Place::Rows(r, _) => r.len() * columns,
            Place::Columns(c, _) => c.len() * rows,
            Place::Block(r, c) => r.len() * c.len(),
            Place::Span(r, _) => r.len(),
            Place::SomeRows(list, _) => list.len() * columns,
            Place::SomeColumns(list, _) => list.len() * rows,
            Place::Scattered => d.count,
        }
    }
}

/// The share of a place's elements that must differ. The rest are equal by chance, or because little changed.
const DENSE: f64 = 0.1;

/// The simplest place that holds all that differ; `whole` says whether all of a place is like what differs.
pub(super) fn place(d: &Differing, rows: usize, columns: usize, whole: impl Fn(&Place) -> bool) -> Place {
    let len = rows * columns;
    let of_rows: Vec<usize> = (0..rows).filter(|&r| d.rows[r] > 0).collect();
    let of_columns: Vec<usize> = (0..columns).filter(|&c| d.columns[c]).collect();
    let span = |list: &[usize]| list[0]..list[list.len() - 1] + 1;
    let (r, c) = (span(&of_rows), span(&of_columns));
    let neighbours = (r.len() == of_rows.len(), c.len() == of_columns.len());
    let matrix = rows > 1 && columns > 1;
    let block = r.len() * 4 <= rows * 3 && c.len() * 4 <= columns * 3;
    // A file that breaks off does so within a row.
    let breaks_off = !d.first.is_multiple_of(columns) && r.len() > 1 && d.columns.iter().all(|c| *c);
    let span = Place::Span(d.first..d.last + 1, len);
    let candidates = [
        (breaks_off && neighbours.0, span.clone()),
        (block && neighbours.0 && neighbours.1, Place::Block(r.clone(), c.clone())),
        (matrix && neighbours.0, Place::Rows(r, rows)),
        (matrix && neighbours.1, Place::Columns(c, columns)),
        (true, span),
        (matrix && of_rows.len() * 2 <= rows, Place::SomeRows(of_rows, rows)),
        (matrix && of_columns.len() * 2 <= columns, Place::SomeColumns(of_columns, columns)),
    ];
    let fits = |place: &Place| {
        let size = place.size(d, rows, columns);
        size < len && d.count as f64 >= DENSE * size as f64 && whole(place)
    };
    // A later one must be clearly smaller.
    let mut best: Option<(Place, usize)> = None;
    for (possible, place) in candidates {
        let size = place.size(d, rows, columns);
        if possible && best.as_ref().is_none_or(|(_, best)| size * 4 <= best * 3) && fits(&place) {
            best = Some((place, size));
        }
    }
    best.map_or(Place::Scattered, |(place, _)| place)
}
