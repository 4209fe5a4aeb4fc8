//! The ways in which a rule may lead from one tensor to the other.

use ulpscope_floats::Floats;

use crate::relation::Relation;
use crate::side::Side;
use crate::view::{View, roundings};

/// One direction: `result` is to follow from `source`, which may have been rounded first.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    /// The side that `source` is.
    pub(crate) of: Side,
    pub(crate) source: View<'a>,
    pub(crate) result: View<'a>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Finds the rule of single elements, for a part of the two.
    pub(crate) relation: fn(&Floats, &Floats) -> Option<Relation>,
}

impl<'a> Way<'a> {
    /// From `a` to `b` first, and back where `b` must have been rounded.
    pub(crate) fn all(
        a: &'a Floats<'a>,
        b: &'a Floats<'a>,
        [rows, columns]: [usize; 2],
        relation: fn(&Floats, &Floats) -> Option<Relation>,
    ) -> Vec<Way<'a>> {
        let way = move |of, source, result| Way { of, source, result, rows, columns, relation };
        let forward = roundings(a, b).into_iter().map(|a| way(Side::A, a, View::plain(b)));
        let backward = roundings(b, a).into_iter().skip(1).map(|b| way(Side::B, b, View::plain(a)));
        forward.chain(backward).collect()
    }
}
