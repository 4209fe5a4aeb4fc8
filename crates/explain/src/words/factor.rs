//! What two arms differ in, in words.

use std::collections::BTreeSet;

use ulpscope_record::{Finding, Subject};
use ulpscope_relations::Statement;

use crate::arms::factor::Factor;
use crate::evidence::{Evidence, fact};
use crate::layer_groups::{class, ranges};

/// Classes of tensors that a name lists.
const CLASSES: usize = 3;

impl Factor {
    /// What it is about, in short.
    pub(crate) fn subject(&self) -> String {
        match &self.about {
            Subject::Buffer { name } => name.clone(),
            Subject::Setting { key } => key.clone(),
            Subject::Arithmetic { class } => match class.as_str() {
                "attention" => "attention implementation".to_owned(),
                "accumulation" => "order of summation".to_owned(),
                "format" => "format of parameters and activations".to_owned(),
                class => format!("arithmetic: {class}"),
            },
            Subject::Tensors { .. } => self.tensors(),
            _ => String::new(),
        }
    }

    /// The names of tensors, in short: `model.layers.*.mlp.up_proj.weight (30 tensors)`, or of some
    /// layers, `(layers 10 to 12: 6 tensors)`.
    fn tensors(&self) -> String {
        let names: Vec<&str> = self.take.parameters.iter().map(String::as_str).collect();
        match names[..] {
            [] => return String::new(),
            [one] => return one.to_owned(),
            [one, other] => return format!("{one} and {other}"),
            _ => {}
        }
        let layers: BTreeSet<Option<usize>> = self.places.iter().map(|(layer, _)| *layer).collect();
        let named = |name: &&str| if layers.len() == 1 { (*name).to_owned() } else { class(name) };
        let classes: Vec<String> = names.iter().map(named).collect::<BTreeSet<_>>().into_iter().collect();
        if let ([Some(layer)], true) =
            (&layers.iter().copied().collect::<Vec<_>>()[..], classes.len() > CLASSES)
        {
            return format!("model.layers.{layer} ({} tensors)", names.len());
        }
        let shown = if classes.len() <= CLASSES {
            classes.join(", ")
        } else {
            format!("{}, {} and {} more kinds", classes[0], classes[1], classes.len() - 2)
        };
        let of: Vec<usize> = layers.iter().copied().flatten().collect();
        let of = match layers.len() > 1 && !of.is_empty() && of.len() < self.layers {
            true => format!("layer{} {}: ", if of.len() == 1 { "" } else { "s" }, ranges(of)),
            false => String::new(),
        };
        format!("{shown} ({of}{} tensors)", names.len())
    }

    /// How the two sides are related; `None` where no rule leads from one to the other.
    pub(crate) fn relation(&self) -> Option<String> {
        Some(match &self.evidence {
            Evidence::Values(values) => {
                let [a, b] = values.each_ref().map(|value| match value.as_str() {
                    "" => "Hugging Face's",
                    value => value,
                });
                format!("a: {a}, b: {b}")
            }
            Evidence::Recipes([a, b]) => format!("a = {a}, b = {b} of the same stored values"),
            Evidence::Buffer(relation) => relation.as_ref()?.to_string(),
            Evidence::Provenance(what) => what.to_string(),
            Evidence::Statements(statements) => {
                let (stored, first) = statements.first()?;
                let first = format!("{}{first}", if *stored { "as stored, " } else { "" });
                match statements.len() - 1 {
                    0 => first,
                    rest => format!("{first} ({rest} more statements, one for each tensor)"),
                }
            }
        })
    }

    /// The relation as data.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let both =
            |rule: &str, [a, b]: &[String; 2]| Finding::new(rule).with("a", a.as_str()).with("b", b.as_str());
        match &self.evidence {
            Evidence::Values(values) => Some(both("values", values)),
            Evidence::Recipes(recipes) => Some(both("recipes", recipes)),
            Evidence::Buffer(relation) => relation.clone().map(|relation| fact(&Statement::Exact(relation))),
            Evidence::Statements(statements) => statements.first().map(|(_, statement)| fact(statement)),
            Evidence::Provenance(_) => None,
        }
    }

    /// Its subject and relation: `rope_theta (a: theta 10000, b: theta 500)`.
    pub(crate) fn described(&self) -> String {
        let relation = self.relation().map_or(String::new(), |relation| format!(" ({relation})"));
        self.subject() + &relation
    }
}
