//! Every sign is turned.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::relation;
//!
//! let (a, b) = (Floats::from(vec![1.0f32, -0.5]), Floats::from(vec![-1.0f32, 0.5]));
//! assert_eq!(relation(&a, &b).unwrap().to_string(), "b = -a");
//! ```

use ulpscope_floats::Floats;

use crate::relation::Relation;
use crate::view::{View, each, same};

pub(crate) fn negated(a: &Floats, b: &Floats) -> Option<Relation> {
    each(View::plain(a), View::plain(b), |a, b| same(-a, b)).then_some(Relation::Negated)
}
