//! Tensors of the arm whose content the reference has elsewhere: under other names, in other
//! layers, in other tensors' rows; or near to another.

mod basis;
mod folded;
mod layers;
mod near;
mod neurons;
mod split;

use ulpscope_compare::{Differing, NamedArm};
use ulpscope_decoder::ParameterKind;
use ulpscope_floats::Floats;
use ulpscope_metrics::{Fingerprint, Origin, digest, origins};
use ulpscope_relations::{Description, Statement};

use crate::causes::{self, CauseKind};
use crate::evidence::{Besides, Moved, Provenance};
use crate::layer_groups::{by_key, class, together};

/// One mistake of this kind.
#[derive(Debug)]
pub(crate) struct Elsewhere<'d> {
    /// What is where.
    pub(crate) what: Provenance,
    pub(crate) cause: &'static CauseKind,
    /// The tensors that it is about.
    pub(crate) tensors: Vec<&'d Differing>,
}

impl<'d> Elsewhere<'d> {
    fn new(what: Moved, cause: &'static CauseKind, tensors: Vec<&'d Differing>) -> Self {
        Elsewhere { what: Provenance::new(what), cause, tensors }
    }
}

/// Everything of this kind among the parameters that differ. A tensor is in one entry at most.
pub(crate) fn elsewhere<'d>(a: &NamedArm, b: &NamedArm, differing: &'d [Differing]) -> Vec<Elsewhere<'d>> {
    // What only recipes did moved nothing.
    let differing: Vec<&Differing> = differing.iter().filter(|d| !d.of_recipes).collect();
    let mut found: Vec<Elsewhere> = Vec::new();
    let placed = |found: &[Elsewhere], d: &Differing| {
        found.iter().any(|other| other.tensors.iter().any(|t| t.name == d.name))
    };
    let left = |found: &[Elsewhere]| -> Vec<&Differing> {
        differing.iter().copied().filter(|d| !placed(found, d)).collect()
    };
    let named = |names: &[String]| -> Vec<&Differing> {
        differing.iter().copied().filter(|d| names.contains(&d.name)).collect()
    };
    let exact = exchanged(a, b, &differing);
    let known: Vec<&str> = exact.iter().flat_map(changed).collect();
    let unknown: Vec<&Differing> =
        differing.iter().copied().filter(|d| !known.contains(&d.name.as_str())).collect();
    let mut nearby = near::near(a, b, &unknown);
    let is_near =
        |origin: &Origin| nearby.iter().any(|near| changed(origin).contains(&near.tensor.name.as_str()));
    let all = exact.iter().cloned().chain(nearby.iter().filter_map(near::Near::origin)).collect();
    let (moved, mut others) = layers::moved(all);
    others.retain(|origin| !is_near(origin));
    if let Some((mut layers, names)) = moved {
        let mut tensors = named(&names);
        let along: Vec<&near::Near> =
            nearby.iter().filter(|near| names.contains(&near.tensor.name)).collect();
        if !along.is_empty() {
            if let Moved::Layers { changed, .. } = &mut layers {
                *changed = true;
            }
            let norms = near::norms(a, b, &unknown, &along);
            tensors.extend(norms.into_iter().filter(|norm| !names.contains(&norm.name)));
        }
        found.push(Elsewhere::new(layers, causes::LAYERS, tensors));
        nearby.retain(|near| !names.contains(&near.tensor.name));
    }
    let (in_layers, others) = layers::places(others);
    for (layers, names) in in_layers {
        found.push(Elsewhere::new(layers, causes::EXCHANGED, named(&names)));
    }
    for origin in others {
        let names = changed(&origin);
        let tensors: Vec<&Differing> =
            differing.iter().copied().filter(|d| names.contains(&d.name.as_str())).collect();
        if !tensors.is_empty() && !tensors.iter().any(|d| placed(&found, d)) {
            let cause = match &origin {
                Origin::Untied { .. } => causes::HEAD,
                Origin::Copied { name, .. } if name == a.arm.architecture().head_weight() => causes::HEAD,
                _ => causes::EXCHANGED,
            };
            found.push(Elsewhere::new(Moved::Tensor(origin), cause, tensors));
        }
    }
    found.extend(split::splits(a, b, &left(&found)));
    nearby.retain(|near| !placed(&found, near.tensor));
    found.extend(near::one_by_one(nearby));
    found.extend(basis::basis(a, b, &left(&found)));
    found.extend(folded::folded(a, b, &left(&found)));
    found.extend(neurons::neurons(a, b, &left(&found)));
    alike(with_biases(found), a.arm.architecture().layers.len())
}

/// What happened alike in many layers happened once.
fn alike<'d>(found: Vec<Elsewhere<'d>>, layers: usize) -> Vec<Elsewhere<'d>> {
    merged(found, layers, |found| found.what.in_any_layer())
}

/// Weights and biases of the same layers that went together.
fn with_biases<'d>(found: Vec<Elsewhere<'d>>) -> Vec<Elsewhere<'d>> {
    let module =
        |name: &str| name.strip_suffix(".weight").or(name.strip_suffix(".bias")).unwrap_or(name).to_owned();
    let plain = |found: &Elsewhere| found.what.clone().rename(module);
    let merge = |same: Vec<Elsewhere<'d>>| {
        let biases = |found: &Elsewhere| found.tensors.iter().all(|d| d.kind.bias);
        if same.iter().all(biases) || !same.iter().any(biases) {
            return same;
        }
        let what = Provenance { with_biases: true, ..plain(&same[0]) };
        let cause = same[0].cause;
        vec![Elsewhere { what, cause, tensors: same.into_iter().flat_map(|found| found.tensors).collect() }]
    };
    by_key(found, plain).into_iter().flat_map(merge).collect()
}

/// What has the same key in many layers, as one.
fn merged<'d, K: PartialEq>(
    found: Vec<Elsewhere<'d>>,
    layers: usize,
    key: impl Fn(&Elsewhere<'d>) -> K,
) -> Vec<Elsewhere<'d>> {
    let merge = |same: Vec<Elsewhere<'d>>| {
        if !together(same.len(), layers) {
            return same;
        }
        let what = Provenance { layers: same.len(), ..same[0].what.in_any_layer() };
        let cause = same[0].cause;
        let tensors = same.into_iter().flat_map(|found| found.tensors).collect();
        vec![Elsewhere { what, cause, tensors }]
    };
    by_key(found, key).into_iter().flat_map(merge).collect()
}

/// What is the same fault of the same tensors in many layers, as one.
fn by_tensors(found: Vec<Elsewhere>, layers: usize) -> Vec<Elsewhere> {
    let key = |found: &Elsewhere| {
        (found.cause.id, found.tensors.iter().map(|d| class(&d.name)).collect::<Vec<String>>())
    };
    merged(found, layers, key)
}

/// What was done to tensors besides a rewriting of them: for each, how it differs from what the
/// rewriting gives.
#[derive(Default)]
struct Extra<'n>(Vec<(&'n str, ParameterKind, Statement)>);

impl Extra<'_> {
    /// The first of it.
    fn first(&self) -> Besides {
        self.0.first().map(|(name, _, statement)| Box::new(((*name).to_owned(), statement.clone())))
    }

    /// The first that is a defect, or else the first; `None` if nothing was done.
    fn cause(&self) -> Option<&'static CauseKind> {
        let all = || self.0.iter().map(|(_, kind, statement)| causes::of_statement(*kind, statement));
        all().find(|cause| cause.is_defect()).or_else(|| all().next())
    }
}

/// The tensors whose content is another in the arm.
fn changed(origin: &Origin) -> Vec<&str> {
    match origin {
        Origin::Swapped { one, other } => vec![one, other],
        Origin::Copied { name, .. } | Origin::Moved { name, .. } | Origin::Untied { name, .. } => vec![name],
    }
}

/// Heads of queries, and of keys and values.
fn heads(of: &NamedArm) -> [usize; 2] {
    let attention = of.arm.architecture().layers.first().map(|layer| layer.attention);
    attention.map_or([1; 2], |attention| [attention.heads, attention.groups])
}

/// A parameter as an arm's model holds it.
fn parameter(arm: &NamedArm, name: &str) -> Option<Floats<'static>> {
    let stored = arm.arm.checkpoint().tensor(name).ok()?;
    Some(arm.arm.parameter(&stored).0.into_owned())
}

/// Tensors whose content is found under another name, be it that of a tensor which does not differ.
fn exchanged(a: &NamedArm, b: &NamedArm, differing: &[&Differing]) -> Vec<Origin> {
    // Nothing tells one constant from another.
    let constant = |d: &Differing| matches!(d.statement, Statement::Described(Description::Constant { .. }));
    let unknown: Vec<&Differing> =
        differing.iter().copied().filter(|d| d.fingerprints[0].digest != 0 && !constant(d)).collect();
    if unknown.is_empty() {
        return Vec::new();
    }
    let mut sides: [Vec<Fingerprint>; 2] =
        [0, 1].map(|i| unknown.iter().map(|d| d.fingerprints[i].clone()).collect());
    let print = |arm: &NamedArm, name: &str, shape: &[usize]| {
        let digest = digest(&parameter(arm, name)?.cast(b.arm.dtype()));
        Some(Fingerprint { name: name.to_owned(), shape: shape.to_vec(), digest })
    };
    for (name, shape) in
        a.arm.architecture().parameters().into_iter().map(|p| (p.name, p.param.shape.clone()))
    {
        let alike = unknown.iter().any(|d| d.fingerprints[0].shape == shape);
        if !alike || unknown.iter().any(|d| d.name == name) {
            continue;
        }
        let Some(ours) = print(a, &name, &shape) else { continue };
        let differs = differing.iter().any(|d| d.name == name);
        let theirs = if differs { print(b, &name, &shape) } else { Some(ours.clone()) };
        sides[0].push(ours);
        sides[1].extend(theirs);
    }
    origins(&sides[0], &sides[1])
}
