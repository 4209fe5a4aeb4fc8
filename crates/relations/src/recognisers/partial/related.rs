//! The relation that holds within a place alone.

use ulpscope_floats::{Floats, Rounding};

use crate::place::Place;
use crate::relation::{Change, Relation};
use crate::side::Side;
use crate::view::View;
use crate::way::Way;

/// The relation between what lies in `place`; which side is which stays as it is.
pub(super) fn related(place: &Place, way: &Way) -> Change {
    let Way { of, source: a, result: b, rows, columns, relation } = *way;
    let take = |x: View| {
        let taken: Vec<f64> = place.elements(rows, columns).map(|i| x.get(i)).collect();
        Floats::from(taken).cast(x.rounding().map_or(x.floats().dtype(), Rounding::target))
    };
    let (source, result) = (take(a), take(b));
    let related = match of {
        Side::A => relation(&source, &result),
        Side::B => relation(&result, &source),
    };
    match related {
        Some(Relation::Identical | Relation::SameValues) | None => Change::Other,
        Some(relation) => Change::Related(Box::new(relation)),
    }
}
