//! The causes that can be named, one file each, and the one place that ranks them.
//!
//! A cause says its name, remedy, severity and scope, how evidence is tested for it, and gives an
//! example of itself that the tests make and recognise again. [`all`] lists them; a file that is in
//! no registry is not compiled.
//!
//! ```
//! let causes = ulpscope_explain::causes::all();
//! let rounded = causes.iter().find(|cause| cause.id == "rotary-buffer-rounded").unwrap();
//! assert!(rounded.is_defect());
//! assert!(rounded.remedy.starts_with("Load in the target dtype"));
//! ```

/// Declares the causes of one folder: a module for each, its `CAUSE` under the name, and `ALL` of
/// them.
macro_rules! registry {
    ($($name:ident = $module:ident;)*) => {
        $(pub(crate) mod $module;)*
        $(#[allow(dead_code, reason = "most are found by their test, and never by name")]
        pub(crate) static $name: &super::CauseKind = &$module::CAUSE;)*
        pub(in crate::causes) static ALL: &[&super::CauseKind] = &[$(&$module::CAUSE),*];
    };
}

mod arithmetic;
mod example;
pub(crate) mod operations;
mod settings;
mod weights;

use ulpscope_decoder::{Architecture, Field, Op, ParameterKind, Variant};
use ulpscope_record::Finding;
use ulpscope_relations::{Change, Description, Rearrangement, Relation, Statement};

use crate::trace::formula::at::At;

pub use example::Example;
pub use ulpscope_record::Severity;

pub(crate) use self::{arithmetic::*, operations::*, settings::*, weights::*};

/// One cause that can be named.
#[non_exhaustive]
pub struct CauseKind {
    /// Its name in records.
    pub id: &'static str,
    /// Its name in sentences.
    pub title: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Whether it is a mistake or a choice.
    pub severity: Severity,
    /// What is exchanged together.
    pub scope: Scope,
    /// Which of several causes that fit one piece of evidence is named.
    pub rank: Rank,
    /// An example of it; none where only several tensors, or a run, show it.
    pub example: Option<Example>,
    /// Whether evidence is of this cause.
    test: fn(&Clue) -> bool,
}

/// How a cause is recognised at a site of a trace, where no operation of ours can be run so.
pub(crate) struct Test {
    pub(crate) cause: &'static CauseKind,
    /// The operations that it can happen to.
    pub(crate) ops: fn(Op) -> bool,
    /// What the trace does, if it does so.
    pub(crate) find: fn(&At) -> Option<Finding>,
}

/// Causes are equal by their name.
impl PartialEq for CauseKind {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl std::fmt::Debug for CauseKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// What a cause is exchanged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each tensor is a cause of its own.
    PerTensor,
    /// It happens to tensors as a class, so that all of them are one cause.
    PerClass,
}

/// How much a cause that fits says: of two that do, the higher one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It fits whatever has no better name.
    Fallback,
    /// It fits one rule.
    General,
    /// It fits a case of a rule that others fit, too.
    Special,
}

impl CauseKind {
    /// A cause that no evidence fits: what others are written down against.
    const BASE: CauseKind = CauseKind {
        id: "",
        title: "",
        remedy: "",
        severity: Severity::Defect,
        scope: Scope::PerTensor,
        rank: Rank::General,
        example: None,
        test: |_| false,
    };

    /// Whether somebody has to mend it.
    pub fn is_defect(&self) -> bool {
        self.severity == Severity::Defect
    }
}

/// One piece of evidence that a cause is tested against.
#[derive(Clone, Copy)]
pub(crate) enum Clue<'e> {
    /// How a parameter differs.
    Tensor { kind: ParameterKind, statement: &'e Statement },
    /// A departure from a model's own arithmetic.
    Departure { variant: Variant, of: &'e Architecture },
    /// A field of the config.
    Setting(Field),
}

impl Clue<'_> {
    pub(crate) fn states(&self, holds: impl Fn(&Statement) -> bool) -> bool {
        matches!(self, Clue::Tensor { statement, .. } if holds(statement))
    }

    pub(crate) fn relates(&self, holds: impl Fn(&Relation) -> bool) -> bool {
        self.states(|statement| matches!(statement, Statement::Exact(relation) if holds(relation)))
    }

    /// Whether elements are in other places.
    pub(crate) fn rearranges(&self, holds: impl Fn(&Rearrangement) -> bool) -> bool {
        self.states(|statement| match statement {
            Statement::Exact(Relation::Rearranged(found)) => holds(&found.by),
            Statement::Described(Description::Aligned { by, .. }) => holds(by),
            _ => false,
        })
    }

    /// Whether a part follows a rule, and the rest is as it was.
    pub(crate) fn changes_part(&self, holds: impl Fn(&Change) -> bool) -> bool {
        self.relates(|relation| matches!(relation, Relation::Partial(found) if holds(&found.change)))
    }

    /// Whether a part is an exception to what holds of the rest.
    pub(crate) fn excepts(&self, holds: impl Fn(&Change) -> bool) -> bool {
        self.states(|statement| match statement {
            Statement::Described(Description::Except { parts, .. }) => holds(&parts[0].1),
            _ => false,
        })
    }

    fn of_kind(&self, holds: impl Fn(&ParameterKind) -> bool) -> bool {
        matches!(self, Clue::Tensor { kind, .. } if holds(kind))
    }

    pub(crate) fn of_norm(&self) -> bool {
        self.of_kind(|kind| kind.op == Op::Norm)
    }

    /// Of rows that are rotated, head by head.
    pub(crate) fn of_heads(&self) -> bool {
        self.of_kind(|kind| kind.rows.rotated().is_some())
    }

    pub(crate) fn of_bias(&self) -> bool {
        self.of_kind(|kind| kind.bias)
    }

    /// Of the layer that makes the logits.
    pub(crate) fn of_head(&self) -> bool {
        self.of_kind(|kind| kind.op == Op::Linear && kind.layer.is_none())
    }

    pub(crate) fn departs(&self, holds: impl Fn(Variant) -> bool) -> bool {
        self.departs_in(|variant, _| holds(variant))
    }

    pub(crate) fn departs_in(&self, holds: impl Fn(Variant, &Architecture) -> bool) -> bool {
        matches!(self, Clue::Departure { variant, of } if holds(*variant, of))
    }

    pub(crate) fn sets(&self, field: Field) -> bool {
        matches!(self, Clue::Setting(found) if *found == field)
    }
}

/// The cause that a piece of evidence is of: the highest rank, and among equals the first of the
/// registry.
pub(crate) fn best(clue: &Clue) -> Option<&'static CauseKind> {
    let fits = all().into_iter().filter(|cause| (cause.test)(clue));
    // The last of equal maxima would be taken; the first is wanted.
    fits.rev().max_by_key(|cause| cause.rank)
}

/// The cause that a parameter's difference is of.
pub(crate) fn of_statement(kind: ParameterKind, statement: &Statement) -> &'static CauseKind {
    if let Statement::Exact(Relation::Partial(found)) = statement
        && let Change::Related(inner) = &found.change
    {
        // What happened to a part is named; of what happens to whole classes, that it was a part.
        let cause = of_statement(kind, &Statement::Exact((**inner).clone()));
        return if cause.scope == Scope::PerClass { PARTLY } else { cause };
    }
    best(&Clue::Tensor { kind, statement }).unwrap_or(NOISY)
}

/// The cause that a departure from a model's own arithmetic is of.
pub(crate) fn of_variant(variant: Variant, of: &Architecture) -> &'static CauseKind {
    best(&Clue::Departure { variant, of }).expect("every class of departures has a cause")
}

/// The cause that a differing field of the config is of; `None` of the fields of rotary embeddings,
/// which name two.
pub(crate) fn of_field(field: Field) -> Option<&'static CauseKind> {
    best(&Clue::Setting(field))
}

/// Every cause that can be named.
pub fn all() -> Vec<&'static CauseKind> {
    [settings::ALL, weights::ALL, arithmetic::ALL, operations::ALL].concat()
}

#[cfg(test)]
mod tests {
    use ulpscope_decoder::{Branch, Departure, Rows};
    use ulpscope_relations::{Hints, describe};

    use super::*;
    use crate::testing::llama;

    #[test]
    fn ids_are_unique_and_say_what_to_do() {
        let all = all();
        for (i, cause) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other.id != cause.id), "{}", cause.id);
            assert!(!cause.title.is_empty() && cause.remedy.ends_with('.'), "{}", cause.id);
            assert!(cause.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        }
    }

    #[test]
    fn every_cause_recognises_its_example() {
        let (op, branch) = (Op::Linear, Some(Branch::FeedForward));
        let kind = ParameterKind { op, layer: Some(0), branch, rows: Rows::Plain, bias: false };
        for cause in all() {
            let found = match cause.example {
                None => continue,
                Some(Example::Departure(text)) => {
                    let departure: Departure = text.parse().expect("an example is a departure");
                    of_variant(departure.variant, &llama())
                }
                Some(Example::Weight(edit)) => {
                    let [a, b] = edit(example::weight());
                    let statement = describe(&a, &b, &[32, 32], &Hints::default());
                    of_statement(kind, &statement)
                }
            };
            assert_eq!(found, cause);
        }
    }

    #[test]
    fn every_departure_has_a_cause() {
        for variant in Variant::all() {
            assert_ne!(of_variant(variant, &llama()).id, "");
        }
    }

    #[test]
    fn several_zeros_are_no_flipped_bits() {
        let (op, branch) = (Op::Linear, Some(Branch::FeedForward));
        let kind = ParameterKind { op, layer: Some(0), branch, rows: Rows::Plain, bias: false };
        let of = |change: &dyn Fn(usize, f32) -> f32| {
            let [a, b] = example::each(example::weight(), change);
            of_statement(kind, &describe(&a, &b, &[32, 32], &Hints::default())).id
        };
        let some = |i: usize| [40, 300, 777].contains(&i);
        assert_eq!(of(&|i, x| if some(i) { 0.0 } else { x }), "weight-partly-zero");
        assert_eq!(of(&|i, x| if i == 40 { 0.0 } else { x }), "weight-corrupted");
        assert_eq!(of(&|i, x| if some(i) { -x } else { x }), "weight-corrupted");
        // A missing scale is one, whatever was rounded besides.
        let noise = |i: usize| 0.02 * ((i * 31 % 17) as f32 - 8.0) / 8.0;
        assert_eq!(of(&|i, x| 448.0 * (x + noise(i))), "weights-scaled");
    }
}
