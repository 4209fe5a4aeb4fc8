//! Which elements differ, and the simplest place that holds them.

use crate::place::Place;
use crate::recognisers::partial::few;
use crate::view::{PIECE, View, same};

/// What is known about the elements that differ.
pub(super) struct Differing {
    pub(super) count: usize,
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<bool>,
    /// The first few of them.
    pub(super) some: Vec<usize>,
    pub(super) zero: bool,
    pub(super) constant: Option<f64>,
    pub(super) not_finite: bool,
    /// The largest magnitude that differs, the smallest that does not.
    pub(super) largest: f64,
    pub(super) smallest_kept: f64,
    /// Equal elements that are not zero.
    pub(super) kept: usize,
}

/// The share of a place's elements that must differ. The rest are equal by chance, or because
/// little changed.
const DENSE: f64 = 0.1;

impl Differing {
    /// Looks at every element.
    pub(super) fn of(a: View, b: View, rows: usize, columns: usize) -> Differing {
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

    /// How many elements a place has.
    pub(super) fn size(&self, place: &Place, rows: usize, columns: usize) -> usize {
        match place {
            Place::Rows(r, _) => r.len() * columns,
            Place::Columns(c, _) => c.len() * rows,
            Place::Block(r, c) => r.len() * c.len(),
            Place::Span(r, _) => r.len(),
            Place::SomeRows(list, _) => list.len() * columns,
            Place::SomeColumns(list, _) => list.len() * rows,
            Place::Scattered => self.count,
        }
    }

    /// The simplest place that holds all that differ; `whole` says whether all of a place is like
    /// what differs.
    pub(super) fn place(&self, rows: usize, columns: usize, whole: impl Fn(&Place) -> bool) -> Place {
        let len = rows * columns;
        let of_rows: Vec<usize> = (0..rows).filter(|&r| self.rows[r] > 0).collect();
        let of_columns: Vec<usize> = (0..columns).filter(|&c| self.columns[c]).collect();
        let span = |list: &[usize]| list[0]..list[list.len() - 1] + 1;
        let (r, c) = (span(&of_rows), span(&of_columns));
        let neighbours = (r.len() == of_rows.len(), c.len() == of_columns.len());
        let matrix = rows > 1 && columns > 1;
        let block = r.len() * 4 <= rows * 3 && c.len() * 4 <= columns * 3;
        // A file that breaks off does so within a row.
        let breaks_off =
            !self.first.is_multiple_of(columns) && r.len() > 1 && self.columns.iter().all(|c| *c);
        let span = Place::Span(self.first..self.last + 1, len);
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
            let size = self.size(place, rows, columns);
            size < len && self.count as f64 >= DENSE * size as f64 && whole(place)
        };
        // A later one must be clearly smaller.
        let mut best: Option<(Place, usize)> = None;
        for (possible, place) in candidates {
            let size = self.size(&place, rows, columns);
            if possible && best.as_ref().is_none_or(|(_, best)| size * 4 <= best * 3) && fits(&place) {
                best = Some((place, size));
            }
        }
        best.map_or(Place::Scattered, |(place, _)| place)
    }
}
