//! Whether one tensor is made of another by a rule that has a name.
//!
//! - [`relation`]: the rule by which single elements follow: a rounding, a factor, a sign.
//! - [`describe`]: the same of two tensors with their shape, which may also be rearranged, damaged
//!   in one place, scaled by row or quantised. If no rule holds, it says how far apart they are.
//!
//! Sentences are for people: a [`Statement`] also gives its rule's name and values.
//!
//! A rule counts only if every element obeys it, bit by bit. The crate is pure numbers: it knows no
//! files, clocks or randomness, and any number of threads gives the same answer.
//!
//! ```
//! use ulpscope_floats::{DType, Floats};
//! use ulpscope_relations::{Hints, describe, relation};
//!
//! let a = Floats::from(vec![1.0f32, 0.697_830_6, -2.5, 0.25]);
//! let cast = a.cast(DType::Bf16);
//! assert_eq!(relation(&a, &cast).unwrap().to_string(), "b = round_bf16(a)");
//!
//! let transposed = Floats::from(vec![1.0f32, -2.5, 0.697_830_6, 0.25]);
//! let statement = describe(&a, &transposed, &[2, 2], &Hints::default());
//! assert_eq!(statement.to_string(), "b = a transposed");
//! ```

mod cell;
mod constant;
mod grid;
mod groups;
mod moments;
mod operation;
mod order;
mod place;
mod rearrangement;
mod recognisers;
mod registry;
mod relation;
#[cfg(test)]
mod samples;
mod side;
mod statement;
mod text;
mod values;
mod view;
mod way;

pub use constant::{Constant, Form};
pub use grid::{Code, Grid, Misfit};
pub use groups::Groups;
pub use operation::Operation;
pub use order::{HeadLayout, Order};
pub use place::Place;
pub use rearrangement::{Axis, Edge, Rearranged, Rearrangement};
pub use recognisers::affine::Affine;
pub use recognisers::clamped::Clamped;
pub use recognisers::grouped::Grouped;
pub use recognisers::mapped::{Function, Mapped};
pub use recognisers::misread::Misread;
pub use recognisers::neighbours::{Neighbours, Rule};
pub use recognisers::overflowed::Overflowed;
pub use recognisers::partial::few::{Changed, Few};
pub use recognisers::quantised::Quantised;
pub use recognisers::ulps::Ulps;
pub use registry::{Hints, describe, relation};
pub use relation::{Change, Partial, Relation, Zeros};
pub use side::Side;
pub use statement::{Description, Statement};
pub use values::Value;

/// The README's example is about this crate and `metrics`, and runs with its tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
