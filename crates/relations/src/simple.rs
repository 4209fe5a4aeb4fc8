//! The simplest relations: nothing changed, every sign did, one of the common roundings, an exact factor.

use ulpscope_floats::{Floats, Rounding};

use super::view::{View, each, everywhere, same};
use super::{Relation, Side};

pub(super) fn unchanged(a: &Floats, b: &Floats) -> Option<Relation> {
    let one_format = a.dtype() == b.dtype();
    let equal = (one_format && a.bytes() == b.bytes()) || each(View::plain(a), View::plain(b), same);
    equal.then_some(if one_format { Relation::Identical } else { Relation::SameValues })
}

pub(super) fn negated(a: &Floats, b: &Floats) -> Option<Relation> {
    each(View::plain(a), View::plain(b), |a, b| same(-a, b)).then_some(Relation::Negated)
}

pub(super) fn rounded(a: &Floats, b: &Floats) -> Option<Relation> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        // f64 reaches f32 by rounding to nearest, as in PyTorch; all else is exact.
        let follows = |by: &Rounding| each(View::rounded(source, Some(*by)), View::plain(result), same);
        Rounding::ALL.into_iter().find(follows).map(|by| Relation::Rounded { by, of })
    })
}

pub(super) fn scaled(a: &Floats, b: &Floats) -> Option<Relation> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        let mut nonzero = (0..source.len()).filter(|&i| source.get(i) != 0.0 && source.get(i).is_finite());
        let first = nonzero.next()?;
        nonzero.next()?; // one element alone is a multiple of anything
        let by = result.get(first) / source.get(first);
        let multiplies = |source: &[f64], result: &[f64]| {
            source.iter().zip(result).all(|(x, y)| same(x * by, *y) && exact(*x, by))
        };
        let usable = by.is_finite() && by != 0.0;
        let holds = || everywhere(View::plain(source), View::plain(result), multiplies);
        (usable && holds()).then_some(Relation::Scaled { by, of })
    })
}

/// Whether `x * y` is a number of f64, so that multiplying rounds nothing.
fn exact(x: f64, y: f64) -> bool {
    // The fused form rounds once, at the end, and so leaves what the product lost. That itself may get
    // lost below the smallest number, but 24-bit values and their quotients give no product that small.
    let product = x * y;
    !product.is_finite() || x.mul_add(y, -product) == 0.0
}
