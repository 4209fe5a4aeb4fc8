//! Rows, or columns, that the original has elsewhere: a shard that is there twice, a row inserted into a table.

use super::{Change, Place, Zeros};
use crate::relation::Side;
use crate::relation::view::{View, same};

/// Lines of the place from which a distance is taken.
const PROBES: [usize; 3] = [1, 0, 2];

/// Elements of a line that are looked at before all are.
const TASTE: usize = 16;

/// Share of a place's lines that must have come from the same distance.
const MOST: f64 = 0.9;

/// Lines of `b` in `place` that `a` has, all as far away; what else lies there is said apart.
pub(super) fn moved(
    place: &Place,
    of: Side,
    a: View,
    b: View,
    (rows, columns): (usize, usize),
) -> Option<Change> {
    let (lines, all, by_row) = place.lines()?;
    let (len, step) = if by_row { (columns, (columns, 1)) } else { (rows, (1, columns)) };
    let at = |line: usize, i: usize| line * step.0 + i * step.1;
    let equal = |ours: usize, theirs: usize| {
        let tastes = (0..len.min(TASTE)).map(|i| i * len / len.min(TASTE));
        let mut all = tastes.chain(0..len);
        all.all(|i| same(a.get(at(ours, i)), b.get(at(theirs, i))))
    };
    // A line of one number throughout says nothing of where it is from.
    let tells = |line: usize| len > 1 && (1..len).any(|i| !same(b.get(at(line, i)), b.get(at(line, 0))));
    let source = |line: usize| (0..all).find(|&ours| ours != line && equal(ours, line));
    let probes = PROBES.map(|part| lines[part * (lines.len() - 1) / 2]);
    let (line, from) = probes.into_iter().filter(|line| tells(*line)).find_map(|l| Some((l, source(l)?)))?;
    let by = from as isize - line as isize;
    let origin = |line: usize| line.checked_add_signed(by).filter(|from| *from < all);
    let came = |line: &usize| origin(*line).is_some_and(|from| equal(from, *line));
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
