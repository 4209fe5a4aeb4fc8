//! What a trace shows, as typed values: searches rank, merge and compare these, and never a
//! sentence.

use ulpscope_decoder::Site;
use ulpscope_record::{Finding, Subject, Value};
use ulpscope_relations::{Description, Operation, Relation, Side, Statement};

use crate::causes::CauseKind;
use crate::evidence::fact;
use crate::layer_groups::class;

/// What the trace does beside what ours does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Evidence {
    /// A fact by a rule that has words.
    Fact(Finding),
    /// How ours (`a`) and the trace's (`b`) are related.
    Related(Statement),
}

impl Evidence {
    /// As records have it.
    pub(crate) fn finding(&self) -> Finding {
        match self {
            Evidence::Fact(finding) => finding.clone(),
            Evidence::Related(statement) => fact(statement),
        }
    }

    /// Whether both say the same, numbers to within 1 %.
    pub(crate) fn alike(&self, other: &Evidence) -> bool {
        match (self, other) {
            (Evidence::Fact(finding), Evidence::Fact(other)) => finding.alike(other),
            _ => self == other,
        }
    }

    /// The same with the layers of names left open.
    pub(crate) fn in_any_layer(&self) -> Evidence {
        let Evidence::Fact(finding) = self else { return self.clone() };
        let mut finding = finding.clone();
        finding.values.values_mut().for_each(leave_layers_open);
        Evidence::Fact(finding)
    }

    /// Whether it follows this rule.
    pub(crate) fn is(&self, rule: &str) -> bool {
        matches!(self, Evidence::Fact(finding) if finding.rule == rule)
    }

    /// The tensor that holds another's content, and that other one.
    pub(crate) fn holds(&self) -> Option<[&str; 2]> {
        match self {
            Evidence::Fact(finding) if finding.rule == "holds" => {
                Some([finding.text("tensor")?, finding.text("from")?])
            }
            _ => None,
        }
    }

    /// Whether the trace's is ours times a constant, which the norm of another kind may give, too.
    pub(crate) fn is_scaled(&self) -> bool {
        fn scaled(relation: &Relation) -> bool {
            let times = |operation, of| operation == Operation::Times && of == Side::A;
            match relation {
                Relation::Scaled { of, .. } => *of == Side::A,
                Relation::Affine(found) => times(found.operation, found.of),
                Relation::Grouped(found) => times(found.operation, found.of),
                Relation::Partial(found) => {
                    matches!(&found.change, ulpscope_relations::Change::Related(inner) if scaled(inner))
                }
                _ => false,
            }
        }
        match self {
            Evidence::Related(Statement::Exact(relation)) => scaled(relation),
            Evidence::Related(Statement::Described(Description::Noisy { gain, .. })) => gain.abs() != 1.0,
            _ => false,
        }
    }
}

fn leave_layers_open(value: &mut Value) {
    match value {
        Value::Text(name) => *name = class(name),
        Value::List(items) => items.iter_mut().for_each(leave_layers_open),
        _ => {}
    }
}

/// What makes two claims one cause: the cause, where it holds, and what it says.
///
/// Of what holds in a whole model the place is empty; where all layers are one cause it is a class.
/// Claims that are recognised at a class of sites, whatever they say there, have no evidence in
/// their key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) cause: &'static str,
    pub(crate) place: String,
    pub(crate) evidence: Option<Evidence>,
}

/// A cause that is supposed or found: what it is, what it is about, and what the trace does.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) key: Key,
    pub(crate) kind: &'static CauseKind,
    pub(crate) about: Subject,
    pub(crate) evidence: Evidence,
}

impl Claim {
    /// Of a place, or of the whole model where that is empty.
    pub(crate) fn new(kind: &'static CauseKind, place: String, about: Subject, evidence: Evidence) -> Self {
        let key = Key { cause: kind.id, place, evidence: Some(evidence.clone()) };
        Claim { key, kind, about, evidence }
    }

    /// Of the model's config.
    pub(crate) fn of_setting(kind: &'static CauseKind, key: &str, finding: Finding) -> Self {
        Claim::new(kind, String::new(), Subject::Setting { key: key.to_owned() }, Evidence::Fact(finding))
    }

    /// Of the model's arithmetic.
    pub(crate) fn of_arithmetic(kind: &'static CauseKind, class: &str, finding: Finding) -> Self {
        let about = Subject::Arithmetic { class: class.to_owned() };
        Claim::new(kind, String::new(), about, Evidence::Fact(finding))
    }

    /// Read off the values at a site: one cause with the same at other layers.
    pub(crate) fn at_site(kind: &'static CauseKind, site: Site, evidence: Evidence) -> Self {
        let name = site.to_string();
        let key = Key { cause: kind.id, place: class(&name), evidence: None };
        Claim { key, kind, about: Subject::Sites { names: vec![name] }, evidence }
    }

    /// Takes in the names that another claim of the same key is about.
    pub(crate) fn join(&mut self, other: &Claim) {
        use Subject::{Sites, Tensors};
        if let (Tensors { names }, Tensors { names: more }) | (Sites { names }, Sites { names: more }) =
            (&mut self.about, &other.about)
        {
            names.extend(more.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_floats::Floats;
    use ulpscope_relations::{Hints, describe};

    use super::*;

    #[test]
    fn a_constant_factor_is_told_from_other_relations() {
        let a: Vec<f32> = (0..64).map(|i| 0.37 + i as f32 / 16.0).collect();
        let related = |f: &dyn Fn(f32) -> f32| {
            let b: Vec<f32> = a.iter().map(|x| f(*x)).collect();
            Evidence::Related(describe(&Floats::from(a.clone()), &Floats::from(b), &[64], &Hints::default()))
        };
        assert!(related(&|x| 8.0 * x).is_scaled() && related(&|x| 5.65 * x).is_scaled());
        assert!(!related(&|x| x + 1.0).is_scaled() && !related(&|x| -x).is_scaled());
        assert_eq!(related(&|x| 8.0 * x).finding().number("gain"), Some(8.0));
    }

    #[test]
    fn layers_are_left_open() {
        let holds = |n: usize| {
            let name = |place: &str| format!("model.layers.{n}.{place}.weight");
            let finding = Finding::new("holds").with("tensor", name("up")).with("from", name("gate"));
            Evidence::Fact(finding)
        };
        assert!(holds(3) != holds(4) && holds(3).in_any_layer() == holds(4).in_any_layer());
        assert_eq!(holds(3).holds(), Some(["model.layers.3.up.weight", "model.layers.3.gate.weight"]));
    }
}
