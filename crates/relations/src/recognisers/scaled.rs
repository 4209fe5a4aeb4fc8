//! One side is an exact multiple of the other: no product was rounded.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::relation;
//!
//! let (a, b) = (Floats::from(vec![0.1f32, 0.2]), Floats::from(vec![0.05f32, 0.1]));
//! assert_eq!(relation(&a, &b).unwrap().to_string(), "b = 0.5*a");
//! ```

use ulpscope_floats::Floats;

use crate::relation::Relation;
use crate::side::Side;
use crate::view::{View, everywhere, same};

pub(crate) fn scaled(a: &Floats, b: &Floats) -> Option<Relation> {
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
    // The fused form rounds once, at the end, and so leaves what the product lost. That itself may
    // get lost below the smallest number, but 24-bit values and their quotients give no product
    // that small.
    let product = x * y;
    !product.is_finite() || x.mul_add(y, -product) == 0.0
}
