//! One side is the other, rounded in one of the common ways.
//!
//! ```
//! use ulpscope_floats::{Floats, Rounding};
//! use ulpscope_relations::relation;
//!
//! let a = Floats::from(vec![0.1f32, 0.2, 0.3]);
//! let b = Rounding::TruncateBf16.apply(&a);
//! assert_eq!(relation(&a, &b).unwrap().to_string(), "b = truncate_bf16(a)");
//! ```

use ulpscope_floats::{Floats, Rounding};

use crate::recognisers::affine::affine;
use crate::relation::Relation;
use crate::side::Side;
use crate::view::{View, each, same};

/// A common rounding of one side, unless that side is a rounded multiple of the other.
///
/// That `b` is `0.999 * a` in a finer format says more than that `a` is `b` rounded.
pub(crate) fn rounded(a: &Floats, b: &Floats) -> Option<Relation> {
    let found = one_rounding(a, b)?;
    let Relation::Rounded { of, .. } = found else {
        return Some(found);
    };
    let made = affine(a, b).filter(|made| made.of == of.other());
    Some(made.map_or(found, Relation::Affine))
}

fn one_rounding(a: &Floats, b: &Floats) -> Option<Relation> {
    [(Side::A, a, b), (Side::B, b, a)].into_iter().find_map(|(of, source, result)| {
        // f64 reaches f32 by rounding to nearest, as in PyTorch; all else is exact.
        let follows = |by: &Rounding| each(View::rounded(source, Some(*by)), View::plain(result), same);
        Rounding::ALL.into_iter().find(follows).map(|by| Relation::Rounded { by, of })
    })
}
