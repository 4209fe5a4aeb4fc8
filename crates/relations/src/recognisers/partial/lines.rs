//! Rows, or columns, that were changed in more than one way: some zero, some multiplied.

use crate::place::Place;
use crate::recognisers::partial::related::related;
use crate::relation::{Change, Zeros};
use crate::way::Way;

/// The most ways that are told apart.
const MOST: usize = 4;

/// Share of a line's squares that may be left when the other side's line, multiplied, is taken from
/// it.
const LEFT: f64 = 1e-4;

/// How far apart, of their size, two factors may be that are the same one.
const SAME: f64 = 1e-2;

/// What is seen of one line before the lines are taken together.
#[derive(Clone, Copy)]
enum Seen {
    Zero,
    NotFinite,
    Times(f64),
    Other,
}

impl Seen {
    fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in pairs {
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        if yy == 0.0 {
            return Seen::Zero;
        }
        if xx.is_finite() && !yy.is_finite() {
            return Seen::NotFinite;
        }
        // Neither holds where something is not a number.
        if xx > 0.0 && yy * xx - xy * xy <= LEFT * yy * xx { Seen::Times(xy / xx) } else { Seen::Other }
    }

    fn like(self, other: Self) -> bool {
        match (self, other) {
            (Seen::Zero, Seen::Zero) | (Seen::NotFinite, Seen::NotFinite) | (Seen::Other, Seen::Other) => {
                true
            }
            (Seen::Times(k), Seen::Times(l)) => (k - l).abs() <= SAME * k.abs(),
            _ => false,
        }
    }
}

/// What was done to the lines of `place`, where that is not the same in all: `a` became `b`.
pub(super) fn several(place: &Place, way: &Way) -> Option<Change> {
    let Way { source: a, result: b, rows, columns, .. } = *way;
    let (lines, all, by_row) = place.lines()?;
    let mut groups: Vec<(Seen, Vec<usize>)> = Vec::new();
    for line in lines {
        let one = Place::of_lines(vec![line], all, by_row);
        let seen = Seen::of(one.elements(rows, columns).map(|i| (a.get(i), b.get(i))));
        match groups.iter().position(|(like, _)| like.like(seen)) {
            Some(known) => groups[known].1.push(line),
            None if groups.len() == MOST => return None,
            None => groups.push((seen, vec![line])),
        }
    }
    let parts = groups.into_iter().map(|(seen, list)| {
        let place = Place::of_lines(list, all, by_row);
        let change = match seen {
            Seen::Zero => Change::Zero(Zeros::Place),
            Seen::NotFinite => Change::NotFinite,
            Seen::Times(_) => related(&place, way),
            Seen::Other => Change::Other,
        };
        (place, change)
    });
    let parts: Vec<_> = parts.collect();
    let told = parts.len() > 1 && parts.iter().any(|(_, change)| *change != Change::Other);
    told.then_some(Change::Several(parts))
}
