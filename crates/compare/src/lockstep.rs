//! Arms in lockstep: load a part of the model, run every arm and prompt through it, compare, drop it, go on.

use burn::tensor::{Device, Tensor};
use ulpscope_capture::{Activation, Activations, Force, Recorder};
use ulpscope_floats::DType;
use ulpscope_llama::{Arithmetic, Block, Embedding, Head, Probe, RotaryEmbedding, RotaryTables, Site};
use ulpscope_metrics::difference;
use ulpscope_record::{Arm, Buffer, Coverage, First, LogitDivergence, SiteDivergence, Weights};
use ulpscope_weights::BUFFERS;

use crate::CompareError;
use crate::parts::{Loader, conversion_record};
use crate::plan::{NamedArm, Plan, check_arms};
use crate::{buffers, sites};

/// What a comparison found: the parts of a record that do not depend on who ran it, when, and how the model was named.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The arms, with what each recipe did to every parameter and buffer.
    pub arms: Vec<Arm>,
    /// How the state dicts compare.
    pub weights: Weights,
    /// How the buffers compare.
    pub buffers: Vec<Buffer>,
    /// Divergence by site.
    pub sites: Vec<SiteDivergence>,
    /// Divergence of the logits.
    pub logits: Vec<LogitDivergence>,
    /// First site at which each arm parts from the reference.
    pub first: Vec<First>,
    /// What was compared, and what was not.
    pub coverage: Coverage,
}

/// How far a comparison has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Parts of the model that are done: embedding, blocks, head.
    pub done: usize,
    /// Parts in all.
    pub total: usize,
}

/// Compares state dicts and buffers only; no forward pass.
///
/// # Errors
/// [`CompareError`] if the arms do not fit together or a checkpoint can't be read.
pub fn compare_weights(arms: &[NamedArm], mut progress: impl FnMut(Step)) -> Result<Findings, CompareError> {
    check_arms(arms)?;
    let device = Device::default();
    let mut loader = Loader::new(arms, &device);
    let layers = arms[0].arm.config().num_hidden_layers;
    let total = layers + 2;
    for (done, part) in (0..total).map(|i| (i, part_names(arms, i, layers))) {
        loader.load(&part)?;
        progress(Step { done: done + 1, total });
    }
    count_tied_head(arms, &mut loader);
    let rotary = rotary(arms, &mut loader);
    Ok(findings(loader, &rotary, Vec::new(), Vec::new(), Vec::new(), Coverage::default()))
}

/// Runs a comparison.
///
/// # Errors
/// [`CompareError`] if the plan does not make sense or a checkpoint can't be read.
pub fn compare(plan: &Plan, mut progress: impl FnMut(Step)) -> Result<Findings, CompareError> {
    plan.check()?;
    let Plan { arms, prompts, device, .. } = plan;
    let layers = arms[0].arm.config().num_hidden_layers;
    let total = layers + 2;
    let mut loader = Loader::new(arms, device);
    let rotary = rotary(arms, &mut loader);
    let mut ledger = Ledger::new(plan);

    // The stem: embedding and rotary tables.
    let parts = loader.load(&part_names(arms, 0, layers))?;
    let embeddings = loader.build(&parts, |i, p| Embedding::new(arms[i].arm.config(), p))?;
    let same_embedding: Vec<bool> = parts.iter().map(|part| part.same_as_reference).collect();
    drop(parts);
    let mut streams = Vec::with_capacity(prompts.len());
    for (prompt, ids) in prompts.iter().enumerate() {
        streams.push(ledger.stem(prompt, ids, &embeddings, &rotary));
    }
    progress(Step { done: 1, total });

    for n in 0..layers {
        let parts = loader.load(&part_names(arms, n + 1, layers))?;
        let blocks = loader.build(&parts, |i, p| Block::new(arms[i].arm.config(), n, p))?;
        drop(parts);
        for (prompt, lanes) in streams.iter_mut().enumerate() {
            ledger.run(prompt, lanes, &Part::Blocks(&blocks));
        }
        progress(Step { done: n + 2, total });
    }

    let mut parts = loader.load(&part_names(arms, layers + 1, layers))?;
    for (i, same) in same_embedding.into_iter().enumerate() {
        // A tied head is the embedding, which was loaded with the stem.
        parts[i].same_as_reference &= same || !arms[i].arm.config().tie_word_embeddings;
    }
    let heads = loader.build(&parts, |i, p| Head::new(arms[i].arm.config(), &embeddings[i], p))?;
    drop((parts, embeddings));
    count_tied_head(arms, &mut loader);
    for (prompt, lanes) in streams.iter_mut().enumerate() {
        ledger.run(prompt, lanes, &Part::Heads(&heads));
    }
    progress(Step { done: total, total });

    let Ledger { mut sites, logits, first, coverage, .. } = ledger;
    sites.sort_by_key(|s| (arms.iter().position(|a| a.name == s.arm), s.prompt));
    Ok(findings(loader, &rotary, sites, logits, first, coverage))
}

/// One part of the model, for every arm.
enum Part<'a> {
    Blocks(&'a [Block]),
    Heads(&'a [Head]),
}

impl Part<'_> {
    fn forward(&self, arm: usize, lane: &Lane, arithmetic: Arithmetic, probe: &mut impl Probe) -> Tensor<3> {
        match self {
            Part::Blocks(blocks) => blocks[arm].forward(lane.x.clone(), &lane.rope, arithmetic, probe),
            Part::Heads(heads) => heads[arm].forward(lane.x.clone(), arithmetic.accumulation, probe),
        }
    }
}

/// The state of one arm on one prompt.
#[derive(Clone)]
struct Lane {
    /// The residual stream, `[1, T, C]`.
    x: Tensor<3>,
    rope: RotaryTables,
}

impl Lane {
    /// The same state, rounded or widened to what another arm holds.
    fn in_dtype_of(&self, other: &Lane) -> Lane {
        let dtype = other.x.dtype();
        let cast = |x: &Tensor<3>| x.clone().cast(dtype);
        Lane { x: cast(&self.x), rope: RotaryTables { cos: cast(&self.rope.cos), sin: cast(&self.rope.sin) } }
    }
}

/// Collects divergences as they come, in forward order.
struct Ledger<'a> {
    plan: &'a Plan<'a>,
    sites: Vec<SiteDivergence>,
    logits: Vec<LogitDivergence>,
    first: Vec<First>,
    coverage: Coverage,
}

impl<'a> Ledger<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        let first = plan.arms[1..].iter().flat_map(|arm| {
            (0..plan.prompts.len()).map(|prompt| First { arm: arm.name.clone(), prompt, site: None })
        });
        Ledger {
            plan,
            sites: Vec::new(),
            logits: Vec::new(),
            first: first.collect(),
            coverage: coverage(plan),
        }
    }

    /// Runs the stem for every arm. Its sites have no inputs but the prompt: what differs there is introduced there.
    fn stem(
        &mut self,
        prompt: usize,
        ids: &[u32],
        embeddings: &[Embedding],
        rotary: &[RotaryEmbedding],
    ) -> Vec<Lane> {
        let plan = self.plan;
        let mut lanes = Vec::with_capacity(plan.arms.len());
        let mut reference = Activations::new();
        for (i, arm) in plan.arms.iter().enumerate() {
            let mut own = Recorder::new(|_| true);
            let x = embeddings[i].forward(ids, &mut own);
            let rope = rotary[i].forward(ids.len(), arm.arm.dtype(), &plan.device, &mut own);
            lanes.push(Lane { x, rope });
            if i == 0 {
                reference = own.activations;
            } else {
                self.compare(i, prompt, &reference, &own.activations, &own.activations);
            }
        }
        lanes
    }

    /// Runs a part for every arm on its own state, and for each but the reference once more on the reference's.
    fn run(&mut self, prompt: usize, lanes: &mut [Lane], part: &Part) {
        let plan = self.plan;
        let arithmetic = |i: usize| plan.arms[i].arithmetic;
        let start = lanes[0].clone();
        let mut reference = Recorder::new(|_| true);
        lanes[0].x = part.forward(0, &start, arithmetic(0), &mut reference);
        for (i, lane) in lanes.iter_mut().enumerate().skip(1) {
            let forced = start.in_dtype_of(lane);
            let mut own = Recorder::new(|_| true);
            lane.x = part.forward(i, lane, arithmetic(i), &mut own);
            let mut taught = Activations::new();
            let observe = |site, activation| {
                taught.insert(site, activation);
            };
            part.forward(i, &forced, arithmetic(i), &mut Force::new(&reference.activations, observe));
            self.compare(i, prompt, &reference.activations, &own.activations, &taught);
        }
    }

    /// Enters what arm `i` did at each site, on its own and when taught.
    fn compare(
        &mut self,
        i: usize,
        prompt: usize,
        reference: &Activations,
        own: &Activations,
        taught: &Activations,
    ) {
        let plan = self.plan;
        let arm = &plan.arms[i].name;
        let first =
            self.first.iter_mut().find(|f| f.arm == *arm && f.prompt == prompt).expect("made in `new`");
        // A map of activations is sorted by site, and sites are ordered as the forward pass visits them.
        for (&site, b) in own {
            let (Some(a), Some(t)) = (reference.get(&site), taught.get(&site)) else { continue };
            let mut divergence = sites::site(site, arm, prompt, a, b);
            if first.site.is_none() && divergence.difference.equal < 1.0 {
                first.site = Some(site.to_string());
            }
            if site == Site::LmHead {
                self.logits.push(sites::logits(arm, prompt, a, b));
            }
            if plan.sites.matches(site) {
                divergence.introduced = introduced(a, t);
                self.coverage.compared += 1;
                self.sites.push(divergence);
            }
        }
    }
}

fn introduced(reference: &Activation, taught: &Activation) -> ulpscope_record::Introduced {
    sites::introduced(&difference(&reference.values, &taught.values).expect("both arms have the same shapes"))
}

/// The parameters of part `i`: 0 is the embedding, then the blocks, then norm and head.
fn part_names(arms: &[NamedArm], i: usize, layers: usize) -> Vec<String> {
    // An arm whose head is not tied has the most parameters.
    let untied = arms.iter().find(|a| !a.arm.config().tie_word_embeddings).unwrap_or(&arms[0]);
    let prefix = format!("model.layers.{}.", i.wrapping_sub(1));
    let in_part = |name: &str| match i {
        0 => name.starts_with("model.embed_tokens."),
        _ if i <= layers => name.starts_with(&prefix),
        _ => name.starts_with("model.norm.") || name.starts_with("lm_head."),
    };
    untied.arm.config().parameters().into_iter().map(|(name, _)| name).filter(|name| in_part(name)).collect()
}

/// PyTorch's state dict lists a tied `lm_head.weight` beside the embedding it is; so does the count.
fn count_tied_head(arms: &[NamedArm], loader: &mut Loader) {
    if arms.iter().all(|a| a.arm.config().tie_word_embeddings) {
        let embedding = "model.embed_tokens.weight";
        let differs: Vec<_> =
            loader.weights.different.iter().filter(|d| d.name == embedding).cloned().collect();
        loader.weights.compared += 1;
        loader.weights.identical += usize::from(differs.is_empty());
        let renamed = differs
            .into_iter()
            .map(|d| ulpscope_record::TensorDifference { name: "lm_head.weight".to_owned(), ..d });
        loader.weights.different.extend(renamed);
    }
}

fn rotary(arms: &[NamedArm], loader: &mut Loader) -> Vec<RotaryEmbedding> {
    arms.iter()
        .zip(&mut loader.conversions)
        .map(|(arm, conversions)| {
            let (rotary, reports) = arm.arm.rotary();
            conversions.extend(reports.into_iter().map(conversion_record));
            rotary
        })
        .collect()
}

fn findings(
    loader: Loader,
    rotary: &[RotaryEmbedding],
    sites: Vec<SiteDivergence>,
    logits: Vec<LogitDivergence>,
    first: Vec<First>,
    coverage: Coverage,
) -> Findings {
    let Loader { arms, device, weights, conversions } = loader;
    let described = arms.iter().zip(conversions).map(|(arm, mut conversions)| {
        conversions.sort_by_key(|c| BUFFERS.contains(&c.name.as_str())); // parameters first
        Arm {
            name: arm.name.clone(),
            recipe: arm.arm.recipe().to_string(),
            attention: arm.arithmetic.attention.to_string(),
            dtype: arm.arm.dtype().to_string(),
            accumulation: accumulation(arm, device),
            model: None,
            conversions,
        }
    });
    let buffers =
        arms.iter().zip(rotary).skip(1).flat_map(|(arm, own)| buffers::compare(&arm.name, &rotary[0], own));
    Findings {
        arms: described.collect(),
        weights,
        buffers: buffers.collect(),
        sites,
        logits,
        first,
        coverage,
    }
}

/// The order of summation, where it is ours to choose.
fn accumulation(arm: &NamedArm, device: &Device) -> String {
    match arm.arm.dtype() {
        DType::F64 => "device".to_owned(),
        _ if ulpscope_llama::owns(device) => arm.arithmetic.accumulation.to_string(),
        _ => "device".to_owned(),
    }
}

/// What the plan leaves out: sites that one of two attentions does not have, and sites that the pattern excludes.
fn coverage(plan: &Plan) -> Coverage {
    let mut coverage = Coverage::default();
    let reference = &plan.arms[0];
    let sites_of = |arm: &NamedArm| Site::all(arm.arm.config(), arm.arithmetic.attention);
    for arm in &plan.arms[1..] {
        let (ours, theirs) = (sites_of(reference), sites_of(arm));
        let common: Vec<Site> = theirs.iter().copied().filter(|s| ours.contains(s)).collect();
        for (holder, sites) in [(reference, &ours), (arm, &theirs)] {
            let alone = sites.len() - common.len();
            if alone > 0 {
                let (name, attention) = (&holder.name, holder.arithmetic.attention);
                coverage.not_compared.push(format!(
                    "{alone} sites that only `{name}` has, because its attention is {attention}"
                ));
            }
        }
        let excluded = common.iter().filter(|s| !plan.sites.matches(**s)).count();
        if excluded > 0 {
            coverage.not_compared.push(format!(
                "{excluded} sites of `{}` that the pattern `{}` does not match",
                arm.name, plan.sites
            ));
        }
        coverage.sites += common.len() * plan.prompts.len();
    }
    coverage
}
