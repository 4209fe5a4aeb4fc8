//! Factors: everything in which two arms differ before anything is run.
//!
//! Both arms run by the same kernels, so that a difference between them can come from nothing else. A factor can be
//! exchanged between the arms, which is how it is proved to be a cause.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_compare::{Differing, NamedArm, Take};
use ulpscope_decoder::{
    Accumulation, Architecture, AttentionKind, Branch, Departure, Field, RopeParameters, RotaryEmbedding,
    Semantics, Variant,
};
use ulpscope_floats::{DType, Floats};
use ulpscope_relations::{Description, Relation, Statement, relation};

use crate::across::{by_key, class, ranges, together};
use crate::bisect::FEW;
use crate::causes::{self, CauseKind, Scope};
use crate::elsewhere::Elsewhere;

/// One thing in which two arms differ.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// What it is about: a buffer, tensors, a field of the config, an arithmetic choice.
    pub(crate) subject: String,
    /// How the two sides are related, where that is known.
    pub(crate) relation: Option<String>,
    /// What it is called in the catalogue.
    pub(crate) fault: &'static CauseKind,
    /// The parts of an arm that are exchanged with it.
    pub(crate) take: Take,
    /// The layers and branches that its parameters are in.
    pub(crate) places: Vec<(Option<usize>, Option<Branch>)>,
    /// The choice of arithmetic that is exchanged with it.
    pub(crate) choice: Option<Choice>,
    /// What a rotary buffer is off by, largest first.
    pub(crate) rotation: Option<f64>,
    /// Whether every tensor follows a rule that was verified, and that may be one half of an equivalent rewriting.
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
    pub(crate) fn new(subject: impl Into<String>, fault: &'static CauseKind) -> Self {
        Factor {
            subject: subject.into(),
            relation: None,
            fault,
            take: Take::default(),
            places: Vec::new(),
            choice: None,
            rotation: None,
            ruled: false,
            rounded: false,
        }
    }

    fn related(mut self, relation: impl Into<String>) -> Self {
        self.relation = Some(relation.into());
        self
    }

    fn taking(mut self, take: impl FnOnce(&mut Take)) -> Self {
        take(&mut self.take);
        self
    }

    fn choosing(mut self, choice: Choice) -> Self {
        self.choice = Some(choice);
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

/// The parameters that differ, each with those that it can only be exchanged with, if they are too many to be examined one
/// by one and no one thing happened to all of them.
pub(crate) fn many(differing: &[Differing], elsewhere: &[Elsewhere]) -> Option<Vec<Vec<String>>> {
    let changed: Vec<&Differing> =
        differing.iter().filter(|d| !d.of_recipes && !unchanged(&d.statement)).collect();
    if changed.len() <= FEW {
        return None;
    }
    // What was done to all of them alike, or on purpose, has no few that matter.
    let fault = |d: &Differing| causes::of_statement(d.kind, &d.statement);
    let one = changed.iter().all(|d| {
        let first = changed[0];
        let alike = !fault(d).is_defect() || d.statement.to_string() == first.statement.to_string();
        fault(d).scope == Scope::PerClass && fault(d) == fault(first) && alike
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

/// Everything in which `b` differs from `a`; `differing` are the parameters, `elsewhere` says whose content is found under
/// other names, and `named` are sets of them that matter, where they are many.
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

/// What two recipes make of parameters that are stored alike: both sides are known functions of the stored values.
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
    let fault = if twice(a) != twice(b) { causes::TWICE } else { causes::ROUNDED };
    let factor = Factor::new(subject(&changed, a.arm.architecture().layers.len()), fault).related(format!(
        "a = {}, b = {} of the same stored values",
        a.arm.recipe(),
        b.arm.recipe()
    ));
    Some(taking_parameters(factor, &changed))
}

fn unchanged(statement: &Statement) -> bool {
    matches!(statement, Statement::Exact(Relation::Identical | Relation::SameValues))
}

fn arithmetic(a: &Semantics, b: &Semantics, of: &Architecture) -> Vec<Factor> {
    let mut found = Vec::new();
    if a.base.attention != b.base.attention {
        let said = |kind: AttentionKind| kind.to_string();
        let relation = format!("a: {}, b: {}", said(a.base.attention), said(b.base.attention));
        let factor = Factor::new("attention implementation", causes::ATTENTION).related(relation);
        found.push(factor.choosing(Choice::Attention));
    }
    if a.base.accumulation != b.base.accumulation {
        let said = |order: Accumulation| order.to_string();
        let relation = format!("a: {}, b: {}", said(a.base.accumulation), said(b.base.accumulation));
        let factor = Factor::new("order of summation", causes::ORDER).related(relation);
        found.push(factor.choosing(Choice::Accumulation));
    }
    for &class in Variant::CLASSES {
        let of_class = |semantics: &Semantics| -> Vec<Departure> {
            semantics.departures().filter(|d| d.variant.class() == class).collect()
        };
        let (ours, theirs) = (of_class(a), of_class(b));
        if ours == theirs {
            continue;
        }
        let said = |departures: &[Departure]| match departures {
            [] => "Hugging Face's".to_owned(),
            some => some.iter().map(Departure::to_string).collect::<Vec<_>>().join(", "),
        };
        let first = theirs.first().or(ours.first()).expect("they differ");
        let fault = causes::of_variant(first.variant, of);
        let factor = Factor::new(format!("arithmetic: {class}"), fault);
        found.push(
            factor
                .related(format!("a: {}, b: {}", said(&ours), said(&theirs)))
                .choosing(Choice::Class(class)),
        );
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
    let of = |fault, said: &dyn Fn(&Architecture) -> String| {
        Factor::new(field.key(), fault).related(format!("a: {}, b: {}", said(ours), said(theirs)))
    };
    let layer = |of: &Architecture, i: usize| of.layers.get(i).cloned();
    match field {
        Field::NormEps => of(causes::EPS, &|of| format!("{:e}", of.norm.eps)),
        Field::Activation => {
            let act = |of: &Architecture| layer(of, 0).map(|layer| layer.feed_forward.act);
            of(causes::ACTIVATION, &|of| act(of).map_or(String::new(), |act| format!("{act:?}")))
        }
        Field::Mask => {
            // The first block that differs says what is otherwise.
            let first = ours
                .layers
                .iter()
                .zip(&theirs.layers)
                .position(|(a, b)| a.attention.mask != b.attention.mask);
            let mask = |of: &Architecture| layer(of, first.unwrap_or(0)).map(|layer| layer.attention.mask);
            of(causes::WINDOW, &|of| mask(of).map_or(String::new(), |mask| mask.to_string()))
        }
        Field::QueryScale => {
            let scale = |of: &Architecture| layer(of, 0).and_then(|layer| layer.attention.query_scale);
            of(causes::TEMPERATURE, &|of| scale(of).map_or("none".to_owned(), |scale| scale.beta.to_string()))
        }
        Field::EmbedScale => {
            of(causes::EMBEDDING, &|of| of.embed_scale.map_or("none".to_owned(), |scale| scale.to_string()))
        }
        _ => rope(ours, theirs),
    }
}

/// Rotary embeddings that differ in base or scaling, or in the length that scaling goes by.
fn rope(ours: &Architecture, theirs: &Architecture) -> Factor {
    let pairs = || ours.ropes.iter().zip(&theirs.ropes).map(|(a, b)| (&a.parameters, &b.parameters));
    let theta = pairs().any(|(a, b)| a.rope_theta != b.rope_theta);
    let scaling = pairs().any(|(a, b)| a.kind != b.kind || a.factors != b.factors)
        || ours.max_positions != theirs.max_positions
            && pairs().any(|(a, b)| a.growth() != 1.0 || b.growth() != 1.0);
    let (subject, fault) = match (theta, scaling) {
        (true, false) => ("rope_theta", causes::ROPE_THETA),
        (false, _) => ("rope_scaling", causes::ROPE_SCALING),
        (true, true) => ("rope_theta and rope_scaling", causes::ROPE_THETA),
    };
    let (a, b) =
        pairs().find(|(a, b)| a != b).unwrap_or((&ours.ropes[0].parameters, &theirs.ropes[0].parameters));
    let mut factor = Factor::new(subject, fault).related(rotary(a, b));
    let frequencies = |of| RotaryEmbedding::all(of).into_iter().map(|rope| rope.inv_freq);
    factor.rotation =
        frequencies(ours).zip(frequencies(theirs)).map(|(x, y)| largest(&x, &y)).reduce(f64::max);
    factor
}

/// In what two rotary embeddings differ. Of one kind of scaling, only the fields that are not alike.
fn rotary(ours: &RopeParameters, theirs: &RopeParameters) -> String {
    const SHOWN: usize = 150;
    let all = [ours, theirs].map(|rope| {
        let text = format!("{:?}", rope.kind);
        let text = if rope.factors.is_some() { text + " with factors" } else { text };
        format!("theta {}, {text}", rope.rope_theta)
    });
    // `Kind { field: value, field: value }`; lists in it hold commas of their own and are cut off.
    let fields = |text: &str| -> Vec<String> { text.split(", ").map(str::to_owned).collect() };
    let [x, y] = [&all[0], &all[1]].map(|text| fields(text));
    let alike = |text: &str| text.split(" {").next().map(str::to_owned);
    let same_kind = x.len() == y.len() && x.len() > 2 && alike(&x[1]) == alike(&y[1]);
    let parts = if same_kind {
        let differing: Vec<usize> = (0..x.len()).filter(|&i| x[i] != y[i]).collect();
        [&x, &y].map(|fields| differing.iter().map(|&i| fields[i].clone()).collect::<Vec<_>>().join(", "))
    } else {
        all
    };
    let braced = |text: String| match (text.contains('{'), text.ends_with('}')) {
        (true, false) => text + " }",
        (false, true) => text.trim_end_matches(['}', ' ']).to_owned(),
        _ => text,
    };
    let [a, b] = parts.map(braced).map(|text| match text.len() {
        ..=SHOWN => text,
        _ => text.chars().take(SHOWN - 1).chain(['…']).collect(),
    });
    format!("a: {a}; b: {b}")
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
    let subject = of.ropes[*first].buffers[0];
    let mut factor = Factor::new(subject, causes::ROTARY_BUFFER).taking(|take| take.buffers = true);
    factor.relation = relation(x, y).map(|r| r.to_string());
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
        Factor::new("format of parameters and activations", causes::FORMAT)
            .related(format!("a: {ours}, b: {theirs}"))
            .taking(|take| take.dtype = true)
    })
}

/// Parameters that differ: in groups where one statement fits them all, each alone where something happened to it. Where
/// they are many, only those alone that matter.
fn parameters(
    layers: usize,
    differing: &[&Differing],
    elsewhere: &[Elsewhere],
    named: Option<&[Vec<String>]>,
) -> Vec<Factor> {
    let mut found = Vec::new();
    let mut placed: Vec<&str> = Vec::new();
    let matters = |d: &Differing| named.is_none_or(|sets| sets.iter().flatten().any(|name| *name == d.name));
    for Elsewhere { said, fault, tensors } in elsewhere {
        if !tensors.iter().any(|d| matters(d)) {
            continue;
        }
        placed.extend(tensors.iter().map(|d| d.name.as_str()));
        found.push(taking_parameters(
            Factor::new(subject(tensors, layers), fault).related(said.as_str()),
            tensors,
        ));
    }
    let left = |d: &&Differing| !placed.contains(&d.name.as_str()) && !unchanged(&d.statement);
    let left: Vec<&Differing> = differing.iter().copied().filter(left).collect();
    let constants = constants(&left);
    let mut groups: BTreeMap<(&'static str, String), Vec<&Differing>> = BTreeMap::new();
    for &d in &left {
        let fault = causes::of_statement(d.kind, &d.statement);
        let set = named.and_then(|sets| sets.iter().find(|set| set.contains(&d.name)));
        let own = match (named, set) {
            // What was done on purpose to many was done to all of them.
            _ if fault.scope == Scope::PerClass && !fault.is_defect() => String::new(),
            // What matters stands alone, or with what it matters together with.
            (Some(_), Some(set)) => set[0].clone(),
            // Of the rest, as of what happens to tensors as a class, each kind is one factor.
            (Some(_), None) => String::new(),
            (None, _) if constants.contains(&fault.id) => d.statement.to_string(),
            (None, _) if (fault.scope == Scope::PerClass) => String::new(),
            (None, _) => d.name.clone(),
        };
        groups.entry((fault.id, own)).or_default().push(d);
    }
    let groups = across_layers(groups.into_values().collect(), layers);
    for group in groups {
        let fault = causes::of_statement(group[0].kind, &group[0].statement);
        let mut said: Vec<String> = group.iter().map(ToString::to_string).collect();
        said.dedup();
        let relation = match &said[..] {
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} ({} more statements, one for each tensor)", rest.len()),
            [] => String::new(),
        };
        let mut factor =
            taking_parameters(Factor::new(subject(&group, layers), fault).related(relation), &group);
        (factor.ruled, factor.rounded) = (group.iter().all(|d| ruled(d)), group.iter().any(|d| rounded(d)));
        found.push(factor);
    }
    found
}

/// How far products may be apart in a rotated weight, by its rounding to bf16.
const ROTATED: f64 = 5e-3;

/// Whether all of a tensor follows a rule that may be one half of a rewriting. A norm has a factor for each channel, whatever
/// it is.
fn ruled(d: &Differing) -> bool {
    use Statement::{Described, Exact};
    if let Described(Description::Rotated { apart, .. }) = d.statement {
        return apart <= ROTATED;
    }
    d.name.ends_with("norm.weight")
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

/// Kinds of faults that come with few constants: two factors that are seen in two tensors are two mistakes, one that every
/// tensor has for itself is one.
fn constants(differing: &[&Differing]) -> Vec<&'static str> {
    const FEW: usize = 3;
    let of = |fault: &CauseKind| {
        let mut said: Vec<String> = differing
            .iter()
            .filter(|d| causes::of_statement(d.kind, &d.statement) == fault)
            .map(|d| d.statement.to_string())
            .collect();
        said.sort();
        said.dedup();
        said.len()
    };
    let all = [causes::SCALED, causes::OFFSET];
    all.iter().filter(|fault| of(fault) <= FEW).map(|fault| fault.id).collect()
}

/// Tensors of a layer, so many that it as a whole was not loaded.
const NOT_LOADED: usize = 3;

/// What was never loaded in one layer is one thing.
fn not_loaded(groups: Vec<Vec<&Differing>>) -> Vec<Vec<&Differing>> {
    let layer = |group: &Vec<&Differing>| match &group[..] {
        [d] if causes::of_statement(d.kind, &d.statement) == causes::UNRELATED => d.kind.layer,
        _ => None,
    };
    let merge = |same: Vec<Vec<_>>| match layer(&same[0]) {
        Some(_) if same.len() >= NOT_LOADED => vec![same.concat()],
        _ => same,
    };
    by_key(groups, layer).into_iter().flat_map(merge).collect()
}

/// What happened, without how much of it.
fn kind(statement: &Statement) -> String {
    match statement {
        Statement::Described(Description::Aligned { by, .. }) => by.to_string(),
        other => other.to_string(),
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

fn taking_parameters(mut factor: Factor, group: &[&Differing]) -> Factor {
    factor.take.parameters = group.iter().map(|d| d.name.clone()).collect();
    factor.places = group.iter().map(|d| (d.kind.layer, d.kind.branch)).collect();
    factor
}

/// The names of tensors of a model with so many layers, in short: `model.layers.*.self_attn.k_proj.weight,
/// model.layers.*.self_attn.q_proj.weight (60 tensors)`, or of some of its layers, `(layers 10 to 12: 6 tensors)`.
fn subject(group: &[&Differing], layers: usize) -> String {
    let mut names: Vec<&str> = group.iter().map(|d| d.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match &names[..] {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, other] => format!("{one} and {other}"),
        many => {
            let own: BTreeSet<_> = group.iter().map(|d| d.kind.layer).collect();
            let named = |name: &&str| if own.len() == 1 { (*name).to_owned() } else { class(name) };
            let mut classes: Vec<String> = many.iter().map(named).collect();
            classes.sort();
            classes.dedup();
            let shown = if classes.len() <= 3 {
                classes.join(", ")
            } else {
                format!("{}, {} and {} more kinds", classes[0], classes[1], classes.len() - 2)
            };
            let of: Vec<usize> = own.iter().copied().flatten().collect();
            let of = match own.len() > 1 && !of.is_empty() && of.len() < layers {
                true => format!("layer{} {}: ", if of.len() == 1 { "" } else { "s" }, ranges(of)),
                false => String::new(),
            };
            format!("{shown} ({of}{} tensors)", many.len())
        }
    }
}
