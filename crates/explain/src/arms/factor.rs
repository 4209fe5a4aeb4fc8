//! Factors: everything in which two arms differ before anything is run.
//!
//! Both arms run by the same kernels, so that a difference between them can come from nothing else.
//! A factor can be exchanged between the arms, which is how it is proved to be a cause.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_compare::{Differing, NamedArm, Take};
use ulpscope_decoder::{
    Architecture, Branch, Departure, Field, Op, RopeParameters, RotaryEmbedding, Semantics, Variant,
};
use ulpscope_floats::{DType, Floats};
use ulpscope_record::{Finding, Subject};
use ulpscope_relations::{Description, Relation, Statement, relation};

use crate::arms::bisect::FEW;
use crate::arms::provenance::Elsewhere;
use crate::causes::{self, CauseKind, Scope};
use crate::evidence::{Evidence, fact};
use crate::layer_groups::{by_key, class, together};

/// One thing in which two arms differ.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// What it is about: a buffer, tensors, a field of the config, an arithmetic choice.
    pub(crate) about: Subject,
    /// How the two sides are related.
    pub(crate) evidence: Evidence,
    /// Which cause it would be.
    pub(crate) cause: &'static CauseKind,
    /// The parts of an arm that are exchanged with it.
    pub(crate) take: Take,
    /// The layers and branches that its parameters are in.
    pub(crate) places: Vec<(Option<usize>, Option<Branch>)>,
    /// Layers of the model.
    pub(crate) layers: usize,
    /// The choice of arithmetic that is exchanged with it.
    pub(crate) choice: Option<Choice>,
    /// What a rotary buffer is off by, largest first.
    pub(crate) rotation: Option<f64>,
    /// Whether every tensor follows a rule that was verified, and that may be one half of an
    /// equivalent rewriting.
    pub(crate) ruled: bool,
    /// Whether some were rounded to 16 bits by it: an equivalent rewriting leaves that much.
    pub(crate) rounded: bool,
}

/// A choice of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Attention,
    Accumulation,
    /// All departures of this class.
    Class(&'static str),
}

impl Factor {
    pub(crate) fn new(about: Subject, cause: &'static CauseKind, evidence: Evidence) -> Self {
        Factor {
            about,
            evidence,
            cause,
            take: Take::default(),
            places: Vec::new(),
            layers: 0,
            choice: None,
            rotation: None,
            ruled: false,
            rounded: false,
        }
    }

    /// Tensors that differ.
    fn of_tensors(
        tensors: &[&Differing],
        layers: usize,
        cause: &'static CauseKind,
        evidence: Evidence,
    ) -> Self {
        let names: Vec<String> = tensors.iter().map(|d| d.name.clone()).collect();
        let mut factor = Factor::new(Subject::Tensors { names: names.clone() }, cause, evidence);
        factor.take.parameters = names.into_iter().collect();
        factor.places = tensors.iter().map(|d| (d.kind.layer, d.kind.branch)).collect();
        factor.layers = layers;
        factor
    }

    /// A choice of arithmetic that the arms make otherwise.
    fn of_choice(class: &str, cause: &'static CauseKind, values: [String; 2], choice: Choice) -> Self {
        let about = Subject::Arithmetic { class: class.to_owned() };
        Factor { choice: Some(choice), ..Factor::new(about, cause, Evidence::Values(values)) }
    }

    /// Whether it is about more than one tensor.
    pub(crate) fn is_plural(&self) -> bool {
        self.take.parameters.len() > 1
    }

    fn taking(mut self, take: impl FnOnce(&mut Take)) -> Self {
        take(&mut self.take);
        self
    }

    /// `base` with this factor's choice of arithmetic as `donor` has it.
    pub(crate) fn exchange(&self, base: &Semantics, donor: &Semantics) -> Semantics {
        let mut semantics = base.clone();
        match self.choice {
            None => {}
            Some(Choice::Attention) => semantics.base.attention = donor.base.attention,
            Some(Choice::Accumulation) => semantics.base.accumulation = donor.base.accumulation,
            Some(Choice::Class(class)) => {
                let own: Vec<Departure> = base.departures().filter(|d| d.variant.class() == class).collect();
                semantics = own.into_iter().fold(semantics, Semantics::without);
                let given = donor.departures().filter(|d| d.variant.class() == class);
                semantics = given.fold(semantics, |s, departure| s.with(departure));
            }
        }
        semantics
    }
}

/// The parameters that differ, each with those that it can only be exchanged with, if they are too
/// many to be examined one by one and no one thing happened to all of them.
pub(crate) fn many(differing: &[Differing], elsewhere: &[Elsewhere]) -> Option<Vec<Vec<String>>> {
    let changed: Vec<&Differing> =
        differing.iter().filter(|d| !d.of_recipes && !unchanged(&d.statement)).collect();
    if changed.len() <= FEW {
        return None;
    }
    // What was done to all of them alike, or on purpose, has no few that matter.
    let cause = |d: &Differing| causes::of_statement(d.kind, &d.statement);
    let one = changed.iter().all(|d| {
        let first = changed[0];
        let alike = !cause(d).is_defect() || fact(&d.statement) == fact(&first.statement);
        cause(d).scope == Scope::PerClass && cause(d) == cause(first) && alike
    });
    if one {
        return None;
    }
    let names = |tensors: &[&Differing]| tensors.iter().map(|d| d.name.clone()).collect();
    let mut parts: Vec<Vec<String>> = elsewhere.iter().map(|found| names(&found.tensors)).collect();
    for d in changed {
        if !parts.iter().flatten().any(|name| *name == d.name) {
            parts.push(vec![d.name.clone()]);
        }
    }
    (parts.len() > FEW).then_some(parts)
}

/// Everything in which `b` differs from `a`; `differing` are the parameters, `elsewhere` says whose
/// content is found under other names, and `named` are sets of them that matter, where they are
/// many.
pub(crate) fn factors(
    a: &NamedArm,
    b: &NamedArm,
    differing: &[Differing],
    elsewhere: &[Elsewhere],
    named: Option<&[Vec<String>]>,
) -> Vec<Factor> {
    let mut found = arithmetic(&a.semantics, &b.semantics, a.arm.architecture());
    found.extend(config(a, b));
    found.extend(buffers(a, b));
    found.extend(format(a, b));
    let (of_recipes, of_files): (Vec<&Differing>, Vec<&Differing>) =
        differing.iter().partition(|d| d.of_recipes);
    found.extend(recipes(a, b, &of_recipes));
    let layers = a.arm.architecture().layers.len();
    found.extend(parameters(layers, &of_files, elsewhere, named));
    found
}

/// What two recipes make of parameters that are stored alike: both sides are known functions of the
/// stored values.
fn recipes(a: &NamedArm, b: &NamedArm, differing: &[&Differing]) -> Option<Factor> {
    let changed: Vec<&Differing> = differing.iter().copied().filter(|d| !unchanged(&d.statement)).collect();
    if changed.is_empty() {
        return None;
    }
    let twice = |arm: &NamedArm| {
        let formats: Vec<DType> =
            arm.arm.recipe().steps().iter().map(|s| s.dtype(arm.arm.checkpoint().auto_dtype())).collect();
        formats.windows(2).any(|pair| pair == [DType::F16, DType::Bf16])
    };
    let cause = if twice(a) != twice(b) { causes::TWICE } else { causes::ROUNDED };
    let recipes = [a, b].map(|arm| arm.arm.recipe().to_string());
    let layers = a.arm.architecture().layers.len();
    Some(Factor::of_tensors(&changed, layers, cause, Evidence::Recipes(recipes)))
}

fn unchanged(statement: &Statement) -> bool {
    matches!(statement, Statement::Exact(Relation::Identical | Relation::SameValues))
}

fn arithmetic(a: &Semantics, b: &Semantics, of: &Architecture) -> Vec<Factor> {
    let mut found = Vec::new();
    let both = [a, b];
    if a.base.attention != b.base.attention {
        let values = both.map(|of| of.base.attention.to_string());
        found.push(Factor::of_choice("attention", causes::ATTENTION, values, Choice::Attention));
    }
    if a.base.accumulation != b.base.accumulation {
        let values = both.map(|of| of.base.accumulation.to_string());
        found.push(Factor::of_choice("accumulation", causes::ORDER, values, Choice::Accumulation));
    }
    for &class in Variant::CLASSES {
        let of_class = |semantics: &Semantics| -> Vec<Departure> {
            semantics.departures().filter(|d| d.variant.class() == class).collect()
        };
        let departures = both.map(of_class);
        let first = departures[1].first().or(departures[0].first());
        if let Some(first) = first.filter(|_| departures[0] != departures[1]) {
            let cause = causes::of_variant(first.variant, of);
            let values =
                departures.map(|of| of.iter().map(Departure::to_string).collect::<Vec<_>>().join(", "));
            found.push(Factor::of_choice(class, cause, values, Choice::Class(class)));
        }
    }
    found
}

fn config(a: &NamedArm, b: &NamedArm) -> Vec<Factor> {
    let (ours, theirs) = (a.arm.architecture(), b.arm.architecture());
    let differing = Field::ALL.iter().filter(|field| field.differs(ours, theirs));
    differing
        .map(|&field| setting(field, ours, theirs).taking(|take| _ = take.fields.insert(field)))
        .collect()
}

/// A setting in which two models differ.
fn setting(field: Field, ours: &Architecture, theirs: &Architecture) -> Factor {
    let none = || "none".to_owned();
    // The first block that differs in its mask stands for all.
    let pairs = ours.layers.iter().zip(&theirs.layers);
    let first = pairs.clone().position(|(a, b)| a.attention.mask != b.attention.mask).unwrap_or(0);
    let value = |of: &Architecture| {
        let layer = of.layers.first();
        match field {
            Field::NormEps => format!("{:e}", of.norm.eps),
            Field::Activation => layer.map_or_else(none, |layer| layer.feed_forward.act.to_string()),
            Field::Mask => of.layers.get(first).map_or_else(none, |layer| layer.attention.mask.to_string()),
            Field::QueryScale => {
                let scale = layer.and_then(|layer| layer.attention.query_scale);
                scale.map_or_else(none, |scale| scale.beta.to_string())
            }
            _ => of.embed_scale.map_or_else(none, |scale| scale.to_string()),
        }
    };
    match causes::of_field(field) {
        Some(cause) => {
            let about = Subject::Setting { key: field.key().to_owned() };
            Factor::new(about, cause, Evidence::Values([value(ours), value(theirs)]))
        }
        None => rope(ours, theirs),
    }
}

/// Rotary embeddings that differ in base or scaling, or in the length that scaling goes by.
fn rope(ours: &Architecture, theirs: &Architecture) -> Factor {
    let pairs = || ours.ropes.iter().zip(&theirs.ropes).map(|(a, b)| (&a.parameters, &b.parameters));
    let theta = pairs().any(|(a, b)| a.rope_theta != b.rope_theta);
    let scaling = pairs().any(|(a, b)| a.kind != b.kind || a.factors != b.factors)
        || ours.max_positions != theirs.max_positions
            && pairs().any(|(a, b)| a.growth() != 1.0 || b.growth() != 1.0);
    let (key, cause) = match (theta, scaling) {
        (true, false) => ("rope_theta", causes::ROPE_THETA),
        (false, _) => ("rope_scaling", causes::ROPE_SCALING),
        (true, true) => ("rope_theta and rope_scaling", causes::ROPE_THETA),
    };
    let (a, b) =
        pairs().find(|(a, b)| a != b).unwrap_or((&ours.ropes[0].parameters, &theirs.ropes[0].parameters));
    let about = Subject::Setting { key: key.to_owned() };
    let mut factor = Factor::new(about, cause, Evidence::Values(rotary(a, b)));
    let frequencies = |of| RotaryEmbedding::all(of).into_iter().map(|rope| rope.inv_freq);
    factor.rotation =
        frequencies(ours).zip(frequencies(theirs)).map(|(x, y)| largest(&x, &y)).reduce(f64::max);
    factor
}

/// In what two rotary embeddings differ: of one kind of scaling only the fields that are not alike,
/// of each side.
fn rotary(ours: &RopeParameters, theirs: &RopeParameters) -> [String; 2] {
    let fields = [ours, theirs].map(|rope| {
        let mut fields = vec![("theta", rope.rope_theta.to_string())];
        fields.extend(rope.kind.fields());
        fields.extend(rope.factors.as_ref().map(|_| ("factors", "of the file".to_owned())));
        fields
    });
    let same_kind = ours.kind.name() == theirs.kind.name() && fields[0].len() == fields[1].len();
    let kinds = [ours, theirs].map(|rope| rope.kind.name());
    [0, 1].map(|side| {
        let differs = |i: &usize| !same_kind || fields[0][*i] != fields[1][*i];
        let shown = (0..fields[side].len()).filter(differs).map(|i| {
            let (name, value) = &fields[side][i];
            format!("{name} {value}")
        });
        let kind = (!same_kind).then(|| kinds[side].to_owned());
        let mut all: Vec<String> = shown.collect();
        // Behind the base, which both kinds have.
        all.splice(1.min(all.len())..1.min(all.len()), kind);
        all.join(", ")
    })
}

/// What the recipes do to the buffers that no state dict holds, on the buffers of one description.
fn buffers(a: &NamedArm, b: &NamedArm) -> Option<Factor> {
    let of = a.arm.architecture();
    let made = |arm: &NamedArm| arm.arm.recipe().rotary(of).0.into_iter().map(|rope| rope.inv_freq);
    let wide = |x: &Floats| x.cast(DType::F64);
    let differing: Vec<(usize, Floats, Floats)> = (made(a).zip(made(b)).enumerate())
        .map(|(i, (x, y))| (i, x, y))
        .filter(|(_, x, y)| x != y && wide(x).bytes() != wide(y).bytes())
        .collect();
    let (first, x, y) = differing.first()?;
    let about = Subject::Buffer { name: of.ropes[*first].buffers[0].to_owned() };
    let mut factor = Factor::new(about, causes::ROTARY_BUFFER, Evidence::Buffer(relation(x, y)))
        .taking(|take| take.buffers = true);
    factor.rotation = differing.iter().map(|(_, x, y)| largest(x, y)).reduce(f64::max);
    Some(factor)
}

/// The largest `|a - b|`.
pub(crate) fn largest(a: &Floats, b: &Floats) -> f64 {
    (0..a.len().min(b.len())).map(|i| (a.get(i) - b.get(i)).abs()).fold(0.0, f64::max)
}

fn format(a: &NamedArm, b: &NamedArm) -> Option<Factor> {
    let (ours, theirs) = (a.arm.dtype(), b.arm.dtype());
    (ours != theirs).then(|| {
        let values = [ours, theirs].map(|dtype| dtype.to_string());
        let about = Subject::Arithmetic { class: "format".to_owned() };
        Factor::new(about, causes::FORMAT, Evidence::Values(values)).taking(|take| take.dtype = true)
    })
}

/// Parameters that differ: in groups where one statement fits them all, each alone where something
/// happened to it. Where they are many, only those alone that matter.
fn parameters(
    layers: usize,
    differing: &[&Differing],
    elsewhere: &[Elsewhere],
    named: Option<&[Vec<String>]>,
) -> Vec<Factor> {
    let mut found = Vec::new();
    let mut placed: Vec<&str> = Vec::new();
    let matters = |d: &Differing| named.is_none_or(|sets| sets.iter().flatten().any(|name| *name == d.name));
    for Elsewhere { what, cause, tensors } in elsewhere {
        if !tensors.iter().any(|d| matters(d)) {
            continue;
        }
        placed.extend(tensors.iter().map(|d| d.name.as_str()));
        let evidence = Evidence::Provenance(what.clone());
        found.push(Factor::of_tensors(tensors, layers, cause, evidence));
    }
    let left = |d: &&Differing| !placed.contains(&d.name.as_str()) && !unchanged(&d.statement);
    let left: Vec<&Differing> = differing.iter().copied().filter(left).collect();
    let constants = constants(&left);
    let mut groups: BTreeMap<(&'static str, String), Vec<&Differing>> = BTreeMap::new();
    for &d in &left {
        let cause = causes::of_statement(d.kind, &d.statement);
        let set = named.and_then(|sets| sets.iter().find(|set| set.contains(&d.name)));
        let own = match (named, set) {
            // What was done on purpose to many was done to all of them.
            _ if cause.scope == Scope::PerClass && !cause.is_defect() => String::new(),
            // What matters stands alone, or with what it matters together with.
            (Some(_), Some(set)) => set[0].clone(),
            // Of the rest, as of what happens to tensors as a class, each kind is one factor.
            (Some(_), None) => String::new(),
            (None, _) if constants.contains(&cause.id) => fact(&d.statement).key(),
            (None, _) if cause.scope == Scope::PerClass => String::new(),
            (None, _) => d.name.clone(),
        };
        groups.entry((cause.id, own)).or_default().push(d);
    }
    let groups = in_series(across_layers(groups.into_values().collect(), layers));
    for group in groups {
        let cause = causes::of_statement(group[0].kind, &group[0].statement);
        let mut distinct: Vec<&Differing> = group.clone();
        distinct.dedup_by_key(|d| (d.stored, fact(&d.statement)));
        let statements = distinct.into_iter().map(|d| (d.stored, d.statement.clone())).collect();
        let mut factor = Factor::of_tensors(&group, layers, cause, Evidence::Statements(statements));
        (factor.ruled, factor.rounded) = (group.iter().all(|d| ruled(d)), group.iter().any(|d| rounded(d)));
        found.push(factor);
    }
    found
}

/// How far products may be apart in a rotated weight, by its rounding to bf16.
const ROTATED: f64 = 5e-3;

/// Whether all of a tensor follows a rule that may be one half of a rewriting. A norm has a factor
/// for each channel, whatever it is.
fn ruled(d: &Differing) -> bool {
    use Statement::{Described, Exact};
    if let Described(Description::Rotated { apart, .. }) = d.statement {
        return apart <= ROTATED;
    }
    d.kind.op == Op::Norm
        || matches!(
            d.statement,
            Exact(
                Relation::Scaled { .. }
                    | Relation::Negated
                    | Relation::Affine(_)
                    | Relation::Grouped(_)
                    | Relation::Rearranged(_)
                    | Relation::Signs { .. }
            ) | Described(Description::Constant { .. })
        )
}

/// Whether its result was rounded to 16 bits, in the file or where it was loaded.
fn rounded(d: &Differing) -> bool {
    let narrow = |to: Option<DType>| to.is_some_and(|to| to.size() == 2);
    match &d.statement {
        Statement::Exact(Relation::Affine(found)) => d.stored || narrow(found.to),
        Statement::Exact(Relation::Grouped(found)) => d.stored || narrow(found.to),
        Statement::Exact(Relation::Rearranged(found)) => found.rounded.is_some(),
        Statement::Described(Description::Rotated { .. }) => ruled(d),
        _ => false,
    }
}

/// Causes that come with few constants: two factors that are seen in two tensors are two mistakes,
/// one that every tensor has for itself is one.
fn constants(differing: &[&Differing]) -> Vec<&'static str> {
    let few = |cause: &CauseKind| {
        let mut facts: Vec<Finding> = Vec::new();
        for d in differing.iter().filter(|d| causes::of_statement(d.kind, &d.statement) == cause) {
            let fact = fact(&d.statement);
            if !facts.contains(&fact) {
                facts.push(fact);
            }
        }
        facts.len() <= CONSTANTS
    };
    [causes::SCALED, causes::OFFSET].into_iter().filter(|cause| few(cause)).map(|cause| cause.id).collect()
}

/// Distinct constants up to which each is a cause of its own.
const CONSTANTS: usize = 3;

/// Whether it looks as if the tensor, or a part of it, was never filled.
fn is_absent(cause: &CauseKind) -> bool {
    [causes::UNRELATED, causes::CONSTANT, causes::ZEROED].contains(&cause)
}

/// What is missing alike in several tensors of the same attention or MLP works through each other:
/// one cause.
fn in_series(groups: Vec<Vec<&Differing>>) -> Vec<Vec<&Differing>> {
    let key = |group: &Vec<&Differing>| {
        let cause = causes::of_statement(group[0].kind, &group[0].statement);
        let places: BTreeSet<_> = group.iter().map(|d| (d.kind.layer, d.kind.branch)).collect();
        let fact = match cause == causes::UNRELATED {
            true => None,
            false => Some(fact(&group[0].statement)),
        };
        is_absent(cause).then_some((cause.id, places, fact))
    };
    let merge = |same: Vec<Vec<_>>| match key(&same[0]) {
        Some(_) => vec![same.concat()],
        None => same,
    };
    by_key(groups, key).into_iter().flat_map(merge).collect()
}

/// Tensors of a layer, so many that it as a whole was not loaded.
const NOT_LOADED: usize = 3;

/// What was never loaded in one layer is one thing.
fn not_loaded(groups: Vec<Vec<&Differing>>) -> Vec<Vec<&Differing>> {
    let layer = |group: &Vec<&Differing>| match &group[..] {
        [d] if is_absent(causes::of_statement(d.kind, &d.statement)) => d.kind.layer,
        _ => None,
    };
    let merge = |same: Vec<Vec<_>>| match layer(&same[0]) {
        // What stands for the layer is a linear weight, where one has nothing to do with its own.
        Some(_) if same.len() >= NOT_LOADED => {
            let mut all = same.concat();
            all.sort_by_key(|d| causes::of_statement(d.kind, &d.statement) != causes::UNRELATED);
            vec![all]
        }
        _ => same,
    };
    by_key(groups, layer).into_iter().flat_map(merge).collect()
}

/// What happened, without how much of it.
fn kind(statement: &Statement) -> Finding {
    match statement {
        Statement::Described(Description::Aligned { by, .. }) => {
            Finding::new("aligned").with("by", by.to_string())
        }
        other => fact(other),
    }
}

/// What happened to the same tensor of many layers in the same way is one thing.
fn across_layers(groups: Vec<Vec<&Differing>>, layers: usize) -> Vec<Vec<&Differing>> {
    let groups = not_loaded(groups);
    let key = |group: &Vec<&Differing>| match &group[..] {
        [d] => Some((class(&d.name), kind(&d.statement))),
        _ => None,
    };
    let merge = |same: Vec<Vec<_>>| match key(&same[0]) {
        Some(_) if together(same.len(), layers) => vec![same.concat()],
        _ => same,
    };
    by_key(groups, key).into_iter().flat_map(merge).collect()
}
