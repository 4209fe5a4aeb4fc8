//! Magnitudes are the same, and some signs are not.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let turned = |i: i32, by: i32| if i * i % by < 3 { -i as f32 } else { i as f32 };
//! let [a, b] = [5, 7].map(|by| Floats::from((1..=64).map(|i| turned(i, by)).collect::<Vec<_>>()));
//! let statement = describe(&a, &b, &[64], &Hints::default()).to_string();
//! assert!(statement.starts_with("|b| = |a|, "), "{statement}");
//! ```

use ulpscope_floats::Floats;

use crate::relation::Relation;
use crate::view::{View, each};

pub(crate) fn signs(a: &Floats, b: &Floats) -> Option<Relation> {
    let (a, b) = (View::plain(a), View::plain(b));
    if !each(a, b, |a, b| a.abs() == b.abs() || (a.is_nan() && b.is_nan())) {
        return None;
    }
    let turned = (0..a.len()).filter(|&i| a.get(i).is_sign_negative() != b.get(i).is_sign_negative()).count();
    Some(Relation::Signs { turned, len: a.len() })
}
