//! Nothing changed, but perhaps the format.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_relations::relation;
//!
//! let a = Floats::from(vec![1.0f32, 0.5]);
//! assert_eq!(relation(&a, &a).unwrap().to_string(), "b = a");
//! assert_eq!(relation(&a, &a.cast(DType::Bf16)).unwrap().to_string(), "same values, other dtype");
//! ```

use ulpscope_floats::Floats;

use crate::relation::Relation;
use crate::view::{View, each, same};

pub(crate) fn unchanged(a: &Floats, b: &Floats) -> Option<Relation> {
    let one_format = a.dtype() == b.dtype();
    let equal = (one_format && a.bytes() == b.bytes()) || each(View::plain(a), View::plain(b), same);
    equal.then_some(if one_format { Relation::Identical } else { Relation::SameValues })
}
