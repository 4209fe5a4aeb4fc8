//! Every element of `b` is one number, and few of `a` are.
//!
//! ```
//! use ulpscope_floats::Floats;
//! use ulpscope_relations::{Hints, describe};
//!
//! let a = Floats::from(vec![1.0f32, -2.0, 3.0, 0.7]);
//! let statement = describe(&a, &Floats::from(vec![0.25f32; 4]), &[4], &Hints::default());
//! assert_eq!(statement.to_string(), "every element of b is 0.25");
//! ```

use ulpscope_floats::Floats;

/// The number that all of `b` is, if most of `a` is not: then that some elements of `a` are it,
/// too, is chance.
pub(crate) fn one_number(a: &Floats, b: &Floats) -> Option<f64> {
    let value = (!b.is_empty()).then(|| b.get(0))?;
    let is = |x: &Floats| (0..x.len()).filter(|&i| x.get(i) == value).count();
    let all = b.len() > 1 && b.get(b.len() - 1) == value && b.get(b.len() / 2) == value && is(b) == b.len();
    (all && is(a) * 2 < a.len()).then_some(value)
}
