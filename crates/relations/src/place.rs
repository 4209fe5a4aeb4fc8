//! Where elements that differ lie.

use std::fmt;
use std::ops::Range;

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
    /// The flat indices of its elements, of a matrix of `rows` and `columns`. None if they are
    /// scattered.
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
    pub(crate) fn lines(&self) -> Option<(Vec<usize>, usize, bool)> {
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
}
