//! What is known of a difference before anything is run, as data. Sentences are made of it in
//! [`words`](crate::words).

use std::collections::BTreeMap;

use ulpscope_metrics::Origin;
use ulpscope_record::Finding;
use ulpscope_relations::{self as relations, Relation, Statement};

use crate::layer_groups::class;

/// How the two sides of a factor are related.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    /// Both sides' values of a setting or a choice.
    Values([String; 2]),
    /// Two recipes of the same stored values.
    Recipes([String; 2]),
    /// A buffer; `None` where no rule leads from one to the other.
    Buffer(Option<Relation>),
    /// What happened to tensors, each distinct statement once, and whether it is of the files and
    /// not of what recipes made of them.
    Statements(Vec<(bool, Statement)>),
    /// Where the content of tensors is found instead.
    Provenance(Provenance),
}

/// A statement about two tensors as a fact: its rule, and the values that its sentence shows.
pub(crate) fn fact(statement: &Statement) -> Finding {
    statement.values().into_iter().fold(Finding::new(statement.rule()), |fact, (key, value)| match value {
        relations::Value::Integer(x) => fact.with(key, x),
        relations::Value::Number(x) => fact.with(key, x),
        relations::Value::Text(x) => fact.with(key, x),
        _ => fact,
    })
}

/// Where the content of a tensor is found, if not where it belongs; or what was done to several
/// tensors that meet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Provenance {
    pub(crate) what: Moved,
    /// Layers that it happened in alike, if they are several.
    pub(crate) layers: usize,
    /// Whether it happened to weights and to their biases.
    pub(crate) with_biases: bool,
}

/// The kinds of provenance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Moved {
    /// A tensor under another name.
    Tensor(Origin),
    /// Layers of `a` that those of `b` are, by number; of one tensor of each where `place` names
    /// it.
    Layers { place: Option<String>, sources: BTreeMap<usize, usize>, copied: bool, changed: bool },
    /// A tensor near to another one, and not to its own.
    Near { name: String, from: String, negative: bool, swapped: bool },
    /// Tensors whose rows are rows of others.
    Split(Vec<SplitTensor>),
    /// The residual stream in another basis in so many tensors, and not in those that are
    /// `missing`.
    Basis { followed: usize, missing: Vec<String>, besides: Besides, more: usize },
    /// A norm's weight, folded into layers behind it.
    Folded { norm: String, into: Vec<String>, how: Folding, besides: Besides },
    /// The neurons of an MLP in another order, in some of its layers or in all.
    Neurons { moved: Vec<String>, not: Vec<String>, besides: Besides },
}

/// How a norm's weight was folded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Folding {
    /// Into the layers behind it, while the norm keeps it.
    Kept,
    /// Into some of the layers, and not into these.
    NotInto(Vec<String>),
    /// Into all of them.
    All,
}

/// The rows of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SplitTensor {
    pub(crate) name: String,
    /// Tensor, first and last row of each run.
    pub(crate) runs: Vec<(String, usize, usize)>,
    pub(crate) more: bool,
}

/// What was done to a tensor besides a rewriting, where anything was.
pub(crate) type Besides = Option<Box<(String, Statement)>>;

impl Provenance {
    pub(crate) fn new(what: Moved) -> Self {
        Provenance { what, layers: 1, with_biases: false }
    }

    /// The same with every name of a tensor passed through `f`.
    pub(crate) fn rename(mut self, f: impl Fn(&str) -> String) -> Self {
        let one = |name: &mut String| *name = f(name);
        let besides = |besides: &mut Besides| {
            if let Some(found) = besides {
                found.0 = f(&found.0);
            }
        };
        match &mut self.what {
            Moved::Tensor(Origin::Swapped { one: first, other }) => [first, other].into_iter().for_each(one),
            Moved::Tensor(Origin::Copied { name, of }) => [name, of].into_iter().for_each(one),
            Moved::Tensor(Origin::Moved { name, from } | Origin::Untied { name, from })
            | Moved::Near { name, from, .. } => [name, from].into_iter().for_each(one),
            Moved::Layers { .. } => {}
            Moved::Split(tensors) => tensors.iter_mut().for_each(|tensor| one(&mut tensor.name)),
            Moved::Basis { missing, besides: found, .. } => {
                missing.iter_mut().for_each(one);
                besides(found);
            }
            Moved::Folded { norm, into, how, besides: found } => {
                if let Folding::NotInto(names) = how {
                    names.iter_mut().for_each(one);
                }
                std::iter::once(norm).chain(into).for_each(one);
                besides(found);
            }
            Moved::Neurons { moved, not, besides: found } => {
                moved.iter_mut().chain(not).for_each(one);
                besides(found);
            }
        }
        self
    }

    /// The same in any layer: numbers of layers left open.
    pub(crate) fn in_any_layer(&self) -> Self {
        self.clone().rename(class)
    }
}
