//! Subjects in lockstep: load a part of the model, run every subject and prompt through it,
//! compare, drop it, go on.
//!
//! Where a subject is to multiply another's inputs by weights that both share, the product is the
//! other's, and is not computed again. Nor is anything of a part that is the same function for
//! both.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use rayon::prelude::*;
use ulpscope_capture::{Activations, Recorder};
use ulpscope_decoder::{
    Architecture, AttentionKind, Block, Embedding, Head, Held, Model, Part, Probe, RotaryEmbedding,
    RotaryTables, Semantics, Site, Tables, apart, owns,
};
use ulpscope_floats::DType;
use ulpscope_record::{LogitDivergence, SiteDivergence, Weights};

use crate::CompareError;
use crate::detail::LARGEST;
use crate::heads::{Compared, Heads};
use crate::parts::{Differing, Loader, PartWeights};
use crate::sites::{Looks, Measured};
use crate::subject::{Experiment, Watch};
use crate::teach::Teacher;

/// What was observed of the subjects of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// How the state dicts of the arms compare with the first arm's.
    pub weights: Weights,
    /// Each parameter of an arm that differs from the first arm's, in a form to reason with.
    pub differing: Vec<Differing>,
    /// What each subject's recipe did to every parameter; empty for mixtures.
    pub conversions: Vec<Vec<ulpscope_record::Conversion>>,
    /// Divergence by site of each subject whose sites are watched, in forward order; `arm` is the
    /// subject's name.
    pub sites: Vec<SiteDivergence>,
    /// The logits of each subject against each that it is compared with.
    pub logits: Vec<Compared>,
    /// The first site that differs, by subject and prompt, whether or not it was to be reported.
    /// Only of subjects that are watched.
    pub first: BTreeMap<(usize, usize), Site>,
    /// The arms' models, where the experiment was to keep them. Parameters of equal bits are held
    /// once.
    pub models: Vec<Model>,
}

impl Observed {
    /// The logits of one subject against another, of every prompt in turn.
    pub fn logits_of(&self, subject: usize, with: usize) -> impl Iterator<Item = &LogitDivergence> {
        self.logits.iter().filter(move |l| l.subject == subject && l.with == with).map(|l| &l.logits)
    }

    /// The same of one prompt.
    pub fn logits_on(&self, prompt: usize, subject: usize, with: usize) -> Option<&LogitDivergence> {
        self.logits_of(subject, with).find(|l| l.prompt == prompt)
    }
}

/// How far a comparison has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Parts of the model that are done: embedding, blocks, head.
    pub done: usize,
    /// Parts in all.
    pub total: usize,
}

/// Reads and compares the arms' parameters only; no forward pass.
pub(crate) fn read(
    experiment: &Experiment,
    mut progress: impl FnMut(Step),
) -> Result<Observed, CompareError> {
    let mut loader = Loader::new(experiment);
    let parts = part_names(experiment);
    let total = parts.len();
    for (done, names) in parts.into_iter().enumerate() {
        loader.load(names)?;
        progress(Step { done: done + 1, total });
    }
    experiment.unchanged()?;
    Ok(of_weights(experiment, loader))
}

/// Runs every prompt through every subject.
///
/// # Errors
/// [`CompareError`] if the subjects or prompts do not fit together or a checkpoint can't be read.
pub fn observe(experiment: &Experiment, mut progress: impl FnMut(Step)) -> Result<Observed, CompareError> {
    experiment.check()?;
    let subjects = experiment.subjects.len();
    let rotary: Vec<Vec<RotaryEmbedding>> = (0..subjects).map(|i| experiment.rotary(i)).collect();
    let mut parts = part_names(experiment).into_iter();
    let total = parts.len();
    let mut loader = Loader::new(experiment);
    let run = Run::new(experiment, loader.of.clone());

    // The stem: embedding and rotary tables.
    let mut stem = loader.load(parts.next().unwrap_or_default())?;
    let embeddings = loader.build(&stem, |_, of, p| Embedding::new(of, p))?;
    stem.forget_values();
    let mut streams: Vec<Stream> = (0..experiment.prompts.len()).map(Stream::of).collect();
    run.side_by_side(&mut streams, Run::block_bytes, |stream| run.stem(stream, &embeddings, &rotary));
    progress(Step { done: 1, total });
    let kept: Vec<usize> = if experiment.keep { experiment.arms().collect() } else { Vec::new() };
    let mut kept_blocks: Vec<Vec<Block>> = vec![Vec::new(); kept.len()];

    for n in 0..total - 2 {
        let part = loader.load(parts.next().unwrap_or_default())?;
        let blocks = loader.build(&part, |_, of, p| Block::new(of, n, p))?;
        let same = run.shared(&loader, &part, Some(n));
        loader.release(part);
        for (own, &i) in kept_blocks.iter_mut().zip(&kept) {
            own.push(blocks[i].clone());
        }
        run.side_by_side(&mut streams, Run::block_bytes, |stream| run.block(stream, n, &blocks, &same));
        progress(Step { done: n + 2, total });
    }

    let mut part = loader.load(parts.next().unwrap_or_default())?;
    if experiment.tied() {
        part.also(&stem);
    }
    let heads = loader.build(&part, |i, of, p| Head::new(of, &embeddings[i], p))?;
    let models = (kept.iter().zip(kept_blocks))
        .map(|(&i, blocks)| {
            Model::from_parts(&run.of[i], embeddings[i].clone(), rotary[i].clone(), blocks, heads[i].clone())
        })
        .collect();
    drop((embeddings, stem));
    let same = run.shared(&loader, &part, None);
    loader.release(part);
    run.side_by_side(&mut streams, Run::head_bytes, |stream| run.head(stream, &heads, &same));
    progress(Step { done: total, total });
    // Numbers that came from a file which was written to meanwhile are no result.
    experiment.unchanged()?;

    let mut observed = Observed { models, ..of_weights(experiment, loader) };
    let mut sites = Vec::new();
    for stream in streams {
        sites.extend(stream.sites);
        observed.logits.extend(stream.logits);
        observed.first.extend(stream.first.into_iter().map(|(i, site)| ((i, stream.prompt), site)));
    }
    sites.sort_by_key(|s| (s.subject, s.prompt));
    let named = |s: Measured| {
        let name = &experiment.subjects[s.subject].name;
        s.record(name)
    };
    observed.sites = sites.into_iter().map(named).collect();
    Ok(observed)
}

fn of_weights(experiment: &Experiment, mut loader: Loader) -> Observed {
    if experiment.tied() {
        count_tied_head(&loader.of[0], &mut loader.weights);
    }
    Observed {
        weights: loader.weights,
        differing: loader.differing,
        conversions: loader.conversions,
        ..Observed::default()
    }
}

/// The state of one subject on one prompt.
#[derive(Clone)]
pub(crate) struct Lane {
    /// The residual stream, `[1, T, C]`.
    pub(crate) x: Tensor<3>,
    tables: Tables,
}

impl Lane {
    /// Whether the same state would be held in the same formats.
    fn is_held_as(&self, other: &Lane) -> bool {
        let formats = |lane: &Lane| {
            let tables = lane.tables.ropes.iter().flat_map(|rope| [rope.cos.dtype(), rope.sin.dtype()]);
            tables.chain([lane.x.dtype()]).collect::<Vec<_>>()
        };
        formats(self) == formats(other)
    }

    /// The same state in the formats of another's: rounded or widened. Tables may have another than
    /// the rest.
    fn as_held_in(&self, other: &Lane) -> Lane {
        let cast = |x: &Tensor<3>, like: &Tensor<3>| x.clone().cast(like.dtype());
        let pairs = self.tables.ropes.iter().zip(&other.tables.ropes);
        let ropes = pairs
            .map(|(own, like)| RotaryTables {
                cos: cast(&own.cos, &like.cos),
                sin: cast(&own.sin, &like.sin),
            })
            .collect();
        let tables = Tables { ropes, positions: self.tables.positions.clone() };
        Lane { x: cast(&self.x, &other.x), tables }
    }
}

/// One prompt on its way through the model, and what is observed of it as it comes, in forward
/// order.
struct Stream {
    prompt: usize,
    /// One for each subject.
    lanes: Vec<Lane>,
    sites: Vec<Measured>,
    logits: Vec<Compared>,
    /// The first site that differs, by subject.
    first: BTreeMap<usize, Site>,
    looks: Looks,
}

impl Stream {
    fn of(prompt: usize) -> Self {
        Stream {
            prompt,
            lanes: Vec::new(),
            sites: Vec::new(),
            logits: Vec::new(),
            first: BTreeMap::new(),
            looks: Looks::default(),
        }
    }
}

/// How every prompt runs.
struct Run<'a, 'e> {
    experiment: &'e Experiment<'a>,
    /// What each subject runs.
    of: Vec<Architecture>,
    bytes: Bytes,
    /// Tokens whose logits are computed at a time: as many as a closer look takes, at least.
    stretch: usize,
}

/// About as many bytes as activations take, of all subjects together, on their own and taught.
#[derive(Default)]
struct Bytes {
    /// Within a block, for each token.
    token: usize,
    /// Within a block, for each pair of tokens.
    pair: usize,
    /// Behind the head, for each token.
    logits: usize,
}

impl Bytes {
    fn of(experiment: &Experiment, of: &[Architecture]) -> Self {
        let mut bytes = Bytes::default();
        for (i, (subject, of)) in experiment.subjects.iter().zip(of).enumerate() {
            let size = experiment.dtype(i).size();
            bytes.logits += 4 * of.vocab * size;
            let Some(layer) = of.layers.first() else { continue };
            bytes.token += 2 * (10 * of.width + 4 * layer.feed_forward.width) * size;
            if subject.semantics.base.attention == AttentionKind::Eager {
                bytes.pair += 4 * layer.attention.heads * size;
            }
        }
        bytes
    }
}

impl<'a, 'e> Run<'a, 'e> {
    fn new(experiment: &'e Experiment<'a>, of: Vec<Architecture>) -> Self {
        let vocabulary = of.iter().map(|of| of.vocab).max().unwrap_or(1);
        Run { experiment, bytes: Bytes::of(experiment, &of), of, stretch: STRETCH.max(LARGEST / vocabulary) }
    }

    /// Does something for every prompt: for several at a time, each on a thread of its own, where
    /// there are enough of them of which what they hold meanwhile, as `bytes` estimates it, is
    /// little. On others all threads work together.
    fn side_by_side(
        &self,
        streams: &mut [Stream],
        bytes: impl Fn(&Self, usize) -> usize,
        work: impl Fn(&mut Stream) + Sync,
    ) {
        let threads = rayon::current_num_threads();
        let bytes = |stream: &Stream| bytes(self, self.experiment.prompts[stream.prompt].len()).max(1);
        let (mut small, mut others): (Vec<_>, Vec<_>) =
            streams.iter_mut().partition(|stream| bytes(stream) <= SIDE_BY_SIDE / (2 * threads));
        if threads == 1 || small.len() < 2 * threads || !owns(&self.experiment.device) {
            others.append(&mut small);
        }
        let most = small.iter().map(|stream| bytes(stream)).max().unwrap_or(1);
        for small in small.chunks_mut(SIDE_BY_SIDE / most) {
            small.par_iter_mut().for_each(|stream| apart(|| work(stream)));
        }
        others.into_iter().for_each(work);
    }

    /// About as many bytes as the activations of a block take for all subjects.
    fn block_bytes(&self, tokens: usize) -> usize {
        let Bytes { token, pair, .. } = self.bytes;
        tokens * (token + pair * tokens)
    }

    /// The same of the head.
    fn head_bytes(&self, tokens: usize) -> usize {
        tokens.min(self.stretch) * self.bytes.logits
    }

    /// Runs the stem for every subject. Its sites have no inputs but the prompt: what differs there
    /// is introduced there.
    fn stem(&self, stream: &mut Stream, embeddings: &[Embedding], rotary: &[Vec<RotaryEmbedding>]) {
        let experiment = self.experiment;
        let ids = &experiment.prompts[stream.prompt];
        let mut seen = Vec::with_capacity(experiment.subjects.len());
        for i in 0..experiment.subjects.len() {
            let mut own = Recorder::new(|_| true);
            let arithmetic = experiment.subjects[i].semantics.at(None);
            let x = embeddings[i].forward(&self.of[i], ids, arithmetic, &mut own);
            let (dtype, device) = (experiment.dtype(i), &experiment.device);
            let tables = Tables::new(&rotary[i], 0..ids.len(), Held { dtype, device }, arithmetic, &mut own);
            stream.lanes.push(Lane { x, tables });
            seen.push(own.activations);
        }
        for i in 0..experiment.subjects.len() {
            if let Some(&reference) = self.watched(i, stream.prompt) {
                let own = Some(&seen[i]);
                self.compare(stream, i, &seen[reference], own, Taught::Seen(&seen[i], &BTreeSet::new()));
            }
        }
    }

    fn block(&self, stream: &mut Stream, layer: usize, blocks: &[Block], same: &[Shared]) {
        let starts = stream.lanes.clone();
        let forward = |i: usize, lane: &Lane, semantics: &Semantics, probe: &mut Probes| {
            blocks[i].forward(&self.of[i], lane.x.clone(), &lane.tables, semantics.at(Some(layer)), probe)
        };
        let outputs = self.part(stream, &starts, same, forward);
        for (lane, x) in stream.lanes.iter_mut().zip(outputs) {
            lane.x = x;
        }
    }

    /// The head works on each token alone, so that long prompts run through its product in
    /// stretches.
    fn head(&self, stream: &mut Stream, heads: &[Head], same: &[Shared]) {
        let experiment = self.experiment;
        let mut lanes = std::mem::take(&mut stream.lanes);
        let norm = |i: usize, lane: &Lane, semantics: &Semantics, probe: &mut Probes| {
            heads[i].norm(&self.of[i], lane.x.clone(), semantics.at(None), probe)
        };
        let normed = self.part(stream, &lanes, same, norm);
        lanes.iter_mut().zip(normed).for_each(|(lane, normed)| lane.x = normed);
        let tokens = experiment.prompts[stream.prompt].len();
        let ours = owns(&experiment.device) && (0..lanes.len()).all(|i| experiment.dtype(i) != DType::F64);
        let stretch = if ours { self.stretch } else { tokens };
        let mut whole = Heads::new(experiment, stream.prompt);
        let before = stream.sites.len();
        for start in (0..tokens).step_by(stretch) {
            let rows = stretch.min(tokens - start);
            let cut = |x: &Tensor<3>| x.clone().narrow(1, start, rows);
            let starts: Vec<Lane> =
                lanes.iter().map(|lane| Lane { x: cut(&lane.x), tables: lane.tables.clone() }).collect();
            let forward = |i: usize, lane: &Lane, semantics: &Semantics, probe: &mut Probes| {
                heads[i].logits(&self.of[i], lane.x.clone(), semantics.at(None), probe)
            };
            let piece = stream.sites.len();
            let logits = self.part(stream, &starts, same, forward);
            whole.add(start, logits);
            if start > 0 {
                let later = stream.sites.split_off(piece);
                stream.sites[before..].iter_mut().zip(&later).for_each(|(site, later)| site.join(later));
            }
        }
        stream.logits.extend(whole.finish());
    }

    /// Runs a part for every subject on its own state, and for those whose introduced divergence is
    /// watched once more on the other's.
    fn part(
        &self,
        stream: &mut Stream,
        lanes: &[Lane],
        same: &[Shared],
        forward: impl Fn(usize, &Lane, &Semantics, &mut Probes) -> Tensor<3>,
    ) -> Vec<Tensor<3>> {
        let (experiment, prompt) = (self.experiment, stream.prompt);
        let mut outputs = Vec::with_capacity(lanes.len());
        let mut recorded: Vec<Option<Activations>> = Vec::with_capacity(lanes.len());
        for (i, lane) in lanes.iter().enumerate() {
            let semantics = &experiment.subjects[i].semantics;
            let all = experiment.subjects[i].watch == Watch::Everything || self.is_referred(i, prompt);
            let mut probe = if all { Probes::Record(Recorder::new(|_| true)) } else { Probes::Nothing };
            outputs.push(forward(i, lane, semantics, &mut probe));
            recorded.push(match probe {
                Probes::Record(recorder) => Some(recorder.activations),
                _ => None,
            });
        }
        for i in 0..lanes.len() {
            let Some(&reference) = self.watched(i, prompt) else { continue };
            let given = recorded[reference].as_ref().expect("it is referred to");
            let everything = experiment.subjects[i].watch == Watch::Everything;
            let own = recorded[i].as_ref().filter(|_| everything);
            if same[i].whole && lanes[i].is_held_as(&lanes[reference]) {
                self.compare(stream, i, given, own, Taught::Nothing);
                continue;
            }
            let forced = lanes[reference].as_held_in(&lanes[i]);
            let products = &same[i].products;
            let mut probe = Probes::Teach(Teacher::new(given, products, &experiment.device));
            forward(i, &forced, &experiment.subjects[i].semantics, &mut probe);
            let Probes::Teach(Teacher { taught, .. }) = probe else { unreachable!("it was just made") };
            self.compare(stream, i, given, own, Taught::Seen(&taught, products));
        }
        outputs
    }

    /// What each subject shares of a part with the subject that its sites are compared with.
    fn shared(&self, loader: &Loader, part: &PartWeights, layer: Option<usize>) -> Vec<Shared> {
        let experiment = self.experiment;
        let of = |i: usize| {
            let subject = &experiment.subjects[i];
            let reference = subject.against.first().filter(|_| owns(&experiment.device));
            let alike = |&&reference: &&usize| experiment.dtype(i) == experiment.dtype(reference);
            let Some(&reference) = reference.filter(alike) else { return Shared::default() };
            let [ours, its] =
                [subject, &experiment.subjects[reference]].map(|subject| subject.semantics.at(layer));
            let products = match ours.accumulation == its.accumulation
                && ours.variants.head == its.variants.head
            {
                true => part.same_products(&self.of[i], layer.map_or(Part::Head, Part::Block), i, reference),
                false => BTreeSet::new(),
            };
            Shared { products, whole: ours == its && loader.same_function(part, layer, i, reference) }
        };
        (0..experiment.subjects.len()).map(of).collect()
    }

    /// The subject that the sites of subject `i` are compared with, if they are watched.
    fn watched(&self, i: usize, prompt: usize) -> Option<&'e usize> {
        let subject = &self.experiment.subjects[i];
        let short = self.experiment.prompts[prompt].len() <= self.experiment.longest_watched;
        subject.against.first().filter(|_| match subject.watch {
            Watch::Logits => false,
            Watch::Introduced => short,
            Watch::Everything => true,
        })
    }

    /// Whether the sites of another subject are compared with those of subject `i`.
    fn is_referred(&self, i: usize, prompt: usize) -> bool {
        (0..self.experiment.subjects.len()).any(|other| self.watched(other, prompt) == Some(&i))
    }

    /// Enters what subject `i` did at each site, on its own, if that is watched, and when taught.
    fn compare(
        &self,
        stream: &mut Stream,
        i: usize,
        reference: &Activations,
        own: Option<&Activations>,
        taught: Taught,
    ) {
        // A map of activations is sorted by site, and sites are ordered as the forward pass visits
        // them.
        let sites: Vec<Site> = reference.keys().copied().collect();
        let measure = |site: &Site| {
            let a = reference.get(site)?;
            let t = match taught {
                Taught::Nothing => None,
                Taught::Seen(taught, same) => match taught.get(site) {
                    None if same.contains(site) => None,
                    activation => Some(activation?),
                },
            };
            let own = match own {
                Some(own) => Some(own.get(site)?),
                None => None,
            };
            Some((Measured::new(*site, (i, stream.prompt), a, own, t), a, own, t))
        };
        let measured: Vec<_> = sites.par_iter().filter_map(measure).collect();
        let mut closer = Vec::new();
        for (measured, a, own, t) in measured {
            let site = measured.site;
            if !measured.own.identical() {
                stream.first.entry(i).or_insert(site);
            }
            if self.experiment.sites.matches(site) {
                let own = own.filter(|_| stream.looks.worth(&measured));
                closer.push((measured, own.map(|own| (a, own, t))));
            }
        }
        closer.par_iter_mut().for_each(|(measured, look)| {
            if let Some((a, own, t)) = look.take() {
                measured.look(a, own, t);
            }
        });
        stream.sites.extend(closer.into_iter().map(|(measured, _)| measured));
    }
}

/// What a subject shares of a part with the subject that its sites are compared with.
#[derive(Default)]
struct Shared {
    /// Sites where it multiplies by the same weights, in the same order and formats.
    products: BTreeSet<Site>,
    /// All of it: on the same inputs in the same formats, every site gives the same.
    whole: bool,
}

/// What a subject made of the reference's inputs.
#[derive(Clone, Copy)]
enum Taught<'a> {
    /// Nothing that the reference did not make of them, at any site.
    Nothing,
    /// These activations, and the reference's own at some sites.
    Seen(&'a Activations, &'a BTreeSet<Site>),
}

/// Tokens that go through the head's product at a time: enough to keep its kernel busy, few enough
/// for what is made of their logits to stay in a cache.
const STRETCH: usize = 64;
/// Bytes that activations of prompts may take that run side by side.
const SIDE_BY_SIDE: usize = 256 << 20;

/// The probe of one run through one part.
enum Probes<'a> {
    Nothing,
    Record(Recorder<fn(Site) -> bool>),
    Teach(Teacher<'a>),
}

impl Probe for Probes<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        match self {
            Probes::Nothing => x,
            Probes::Record(recorder) => recorder.at(site, x),
            Probes::Teach(teacher) => teacher.at(site, x),
        }
    }

    fn known(&mut self, site: Site) -> Option<Tensor<3>> {
        match self {
            Probes::Teach(teacher) => teacher.known(site),
            _ => None,
        }
    }

    fn wants(&self, _site: Site) -> bool {
        !matches!(self, Probes::Nothing)
    }
}

/// The parameters of each part of the model: the embedding, each block, norm and head.
fn part_names(experiment: &Experiment) -> Vec<Vec<String>> {
    // An arm whose head is not tied has the most parameters.
    let arms: Vec<_> = experiment.arms().map(|i| experiment.arm(i).architecture()).collect();
    let most = arms.iter().find(|of| !of.tied).unwrap_or(&arms[0]);
    let names = |part| most.parameters_of(part).into_iter().map(|p| p.name).collect();
    most.parts().into_iter().map(names).collect()
}

/// PyTorch's state dict lists a tied output layer beside the embedding it is; so does the count.
fn count_tied_head(of: &Architecture, weights: &mut Weights) {
    let embedding = of.embedding_weight();
    let differs: Vec<_> = weights.different.iter().filter(|d| d.name == embedding).cloned().collect();
    weights.compared += 1;
    weights.identical += usize::from(differs.is_empty());
    let renamed = differs
        .into_iter()
        .map(|d| ulpscope_record::TensorDifference { name: of.head_weight().to_owned(), ..d });
    weights.different.extend(renamed);
}
