//! Rows, or columns, that the original has elsewhere: a shard that is there twice, a row inserted
//! into a table, one row in many places.

use crate::place::Place;
use crate::relation::{Change, Zeros};
use crate::side::Side;
use crate::view::{View, same};
use crate::way::Way;

/// Lines of the place from which a distance is taken.
const PROBES: [usize; 3] = [1, 0, 2];

/// Elements of a line that are looked at before all are.
const TASTE: usize = 16;

/// Share of a place's lines that must have come from the same distance.
const MOST: f64 = 0.9;

/// Roundings that a mean may be off by.
const ROUNDINGS: f64 = 3.0;

/// Lines of `b` in `place` that `a` has, all as far away, or one of them in all places; what else
/// lies there is said apart.
pub(super) fn moved(place: &Place, way: &Way) -> Option<Change> {
    let Way { of, source: a, result: b, rows, columns, .. } = *way;
    let (lines, all, by_row) = place.lines()?;
    let (len, step) = if by_row { (columns, (columns, 1)) } else { (rows, (1, columns)) };
    let pair = Pair { a, b, len, step };
    if let Some(change) = pair.one_for_all(&lines, all, of, by_row) {
        return Some(change);
    }
    let source = |line: usize| (0..all).find(|&ours| ours != line && pair.same(ours, line));
    let probes = PROBES.map(|part| lines[part * (lines.len() - 1) / 2]);
    let (line, from) =
        probes.into_iter().filter(|line| pair.tells(*line)).find_map(|l| Some((l, source(l)?)))?;
    let by = from as isize - line as isize;
    let origin = |line: usize| line.checked_add_signed(by).filter(|from| *from < all);
    let came = |line: &usize| origin(*line).is_some_and(|from| pair.same(from, *line));
    let (here, others): (Vec<usize>, Vec<usize>) = lines.iter().partition(|line| came(line));
    if (here.len() as f64) < MOST * lines.len() as f64 {
        return None;
    }
    let from = Place::of_lines(here.iter().filter_map(|line| origin(*line)).collect(), all, by_row);
    let change = Change::Moved { of, from };
    if others.is_empty() {
        return Some(change);
    }
    let [here, others] = [here, others].map(|lines| Place::of_lines(lines, all, by_row));
    let zero = others.elements(rows, columns).all(|i| b.get(i) == 0.0);
    let rest = if zero { Change::Zero(Zeros::Place) } else { Change::Other };
    Some(Change::Several(vec![(here, change), (others, rest)]))
}

/// Two matrices as lines.
struct Pair<'a> {
    a: View<'a>,
    b: View<'a>,
    /// Elements of a line.
    len: usize,
    /// From a line to the next, and from an element to the next.
    step: (usize, usize),
}

impl Pair<'_> {
    fn at(&self, line: usize, i: usize) -> usize {
        line * self.step.0 + i * self.step.1
    }

    fn ours(&self, line: usize, i: usize) -> f64 {
        self.a.get(self.at(line, i))
    }

    fn theirs(&self, line: usize, i: usize) -> f64 {
        self.b.get(self.at(line, i))
    }

    /// Whether a line of `b` is this one of `a`.
    fn same(&self, ours: usize, theirs: usize) -> bool {
        let taste = self.len.min(TASTE);
        let mut all = (0..taste).map(|i| i * self.len / taste).chain(0..self.len);
        all.all(|i| same(self.ours(ours, i), self.theirs(theirs, i)))
    }

    /// Whether a line of `b` says where it is from: one number throughout does not.
    fn tells(&self, line: usize) -> bool {
        (1..self.len).any(|i| !same(self.theirs(line, i), self.theirs(line, 0)))
    }

    /// All these lines of `b` are one: one of `a`, or the mean of all others of `a`.
    fn one_for_all(&self, lines: &[usize], all: usize, of: Side, by_row: bool) -> Option<Change> {
        let first = lines[0];
        let alike = |line: &usize| (0..self.len).all(|i| same(self.theirs(*line, i), self.theirs(first, i)));
        if lines.len() < 2 || !self.tells(first) || !lines.iter().all(alike) {
            return None;
        }
        if let Some(from) = (0..all).find(|&ours| self.same(ours, first)) {
            return Some(Change::Moved { of, from: Place::of_lines(vec![from], all, by_row) });
        }
        let mut inside = vec![false; all];
        lines.iter().for_each(|line| inside[*line] = true);
        let unit = self.b.floats().dtype().unit_roundoff();
        let is_mean = |i: usize| {
            let others = (0..all).filter(|line| !inside[*line]).map(|line| self.ours(line, i));
            let (sum, squares) = others.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
            let count = (all - lines.len()) as f64;
            // What is left of numbers that cancel has their rounding.
            let allowed = ROUNDINGS * unit * ((sum / count).abs() + (squares / count).sqrt() / count.sqrt());
            (self.theirs(first, i) - sum / count).abs() <= allowed
        };
        (lines.len() < all && (0..self.len).all(is_mean)).then_some(Change::Mean { of })
    }
}
