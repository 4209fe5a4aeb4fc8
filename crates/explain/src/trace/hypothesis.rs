//! What a trace's model may have done otherwise: departures of arithmetic, fields of the config,
//! buffers, wiring.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ulpscope_compare::Setting;
use ulpscope_decoder::{
    Activation, Architecture, AttentionKind, Departure, Layers, Op, Part, QueryScale, RopeKind,
    RopeParameters, RotaryEmbedding, Semantics, Site, Variant,
    departure::{Mask, Positions},
};
use ulpscope_floats::{DType, Floats};
use ulpscope_record::{Finding, Subject};

use super::evidence::{Claim, Evidence};
use crate::causes;
use crate::layer_groups::class;

/// One thing that a trace's model may have done otherwise, and how ours is made to do it.
#[derive(Clone, Debug)]
pub(crate) struct Hypothesis {
    pub(crate) claim: Claim,
    pub(crate) change: Change,
}

/// How a setting becomes that of the trace.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Variant(Variant),
    Attention(AttentionKind),
    Eps(f64),
    Act(Activation),
    Rope(usize, RopeParameters),
    QueryScale(QueryScale),
    Buffers(DType),
    Rewired { read: Site, by: Site },
    Parameters(Vec<(String, Arc<Floats<'static>>)>),
}

impl Change {
    /// Changes the setting of one part.
    pub(crate) fn apply(&self, part: Part, setting: &mut Setting) {
        match self {
            Change::Variant(variant) => setting.semantics = with(&setting.semantics, *variant, part),
            Change::Attention(kind) => setting.semantics.base.attention = *kind,
            Change::Eps(eps) => {
                let norms = setting.architecture.layers.iter_mut().map(|layer| &mut layer.norm);
                norms.chain([&mut setting.architecture.norm]).for_each(|norm| norm.eps = *eps);
            }
            Change::Act(act) => {
                setting.architecture.layers.iter_mut().for_each(|layer| layer.feed_forward.act = *act);
            }
            Change::Rope(index, rope) => {
                setting.architecture.ropes[*index].parameters = rope.clone();
                setting.rotary = RotaryEmbedding::all(&setting.architecture);
            }
            Change::QueryScale(scale) => {
                let layers = setting.architecture.layers.iter_mut();
                layers.for_each(|layer| layer.attention.query_scale = Some(*scale));
            }
            Change::Buffers(dtype) => {
                let cast = |(i, rope): (usize, &RotaryEmbedding)| {
                    let buffers = rope.buffers().map(|(_, values)| values.cast(*dtype));
                    RotaryEmbedding::from_buffers(&setting.architecture, i, buffers)
                };
                setting.rotary = setting.rotary.iter().enumerate().map(cast).collect();
            }
            Change::Rewired { read, by } => setting.rewired.push((*read, *by)),
            Change::Parameters(changed) => {
                for (name, values) in changed {
                    if name == setting.architecture.head_weight() {
                        setting.architecture.tied = false;
                    }
                    setting.parameters.insert(name.clone(), Arc::clone(values));
                }
            }
        }
    }

    /// The sites that have to be in order for it to hold at one: both tables are of one base and
    /// one scaling.
    pub(crate) fn sites(&self, model: &Architecture, site: Site) -> Vec<Site> {
        match (self, site.op()) {
            (Change::Rope(..) | Change::Buffers(_), Op::Table(rope)) => model.tables(rope).to_vec(),
            _ => vec![site],
        }
    }

    /// The site whose readers are given another's activation.
    pub(crate) fn rewired(&self) -> Option<Site> {
        match self {
            Change::Rewired { read, .. } => Some(*read),
            _ => None,
        }
    }

    /// Whether a free run can be made to do it: it can't read what it has not computed yet.
    pub(crate) fn runs_free(&self, part: Part, architecture: &Architecture) -> bool {
        match self {
            Change::Rewired { read, by } => by < read && Some(*read) != architecture.begins_with(part),
            _ => true,
        }
    }
}

fn with(semantics: &Semantics, variant: Variant, part: Part) -> Semantics {
    let layers = match part {
        Part::Block(n) if variant.in_blocks() => Some(Layers { first: n, last: n }),
        _ => None,
    };
    semantics.clone().with(Departure { variant, layers })
}

/// What arithmetic, config, buffers and wiring can do to a site that differs from this token on,
/// the simplest first.
pub(crate) fn hypotheses(site: Site, setting: &Setting, dtype: DType, first: usize) -> Vec<Hypothesis> {
    let mut all = variants(site, setting, dtype, first);
    all.extend(config(site, setting));
    all.extend(wiring(site, setting));
    all
}

fn variants(site: Site, setting: &Setting, dtype: DType, first: usize) -> Vec<Hypothesis> {
    let (model, attention) = (&setting.architecture, setting.semantics.base.attention);
    let offsets = (-8..=8).filter(|n| !matches!(n, 0 | 1)).map(|n| Variant::Positions(Positions::From(n)));
    // The first key that a window hides is out of sight of the token that is as far from it as the
    // window is wide; a few may lose it without losing a bit.
    let mut widths: Vec<usize> = (first.saturating_sub(WINDOWS - 1)..=first).rev().collect();
    // One that is wider than ours shows where ours begins to hide, however wide.
    if let Some(Mask::Window(own)) = site.layer().map(|n| model.layers[n].attention.mask) {
        let own = own.get();
        widths.extend((own + 1..own + WINDOWS).chain([2 * own]));
        widths.retain(|width| *width != own);
    }
    let widths = widths.into_iter().filter_map(NonZeroUsize::new);
    let windows = widths.map(|width| Variant::Mask(Mask::Window(width)));
    let mut all: Vec<Hypothesis> = Variant::all()
        .filter(|variant| !matches!(variant, Variant::Mask(Mask::Window(_))))
        .chain(offsets)
        .chain(windows)
        .filter(|variant| variant.touches(model, attention, dtype).contains(&site))
        .map(|variant| {
            let finding = Finding::new("departure").with("trace", variant.to_string());
            let claim = Claim::of_arithmetic(causes::of_variant(variant, model), variant.class(), finding);
            Hypothesis { claim, change: Change::Variant(variant) }
        })
        .collect();
    if site.op() == Op::Mix {
        let other = match attention {
            AttentionKind::Eager => AttentionKind::Sdpa,
            AttentionKind::Sdpa => AttentionKind::Eager,
        };
        let finding = beside("attention", other, attention);
        let claim = Claim::of_arithmetic(causes::ATTENTION, "attention", finding);
        all.push(Hypothesis { claim, change: Change::Attention(other) });
    }
    all
}

/// A choice of the trace's beside ours.
fn beside(rule: &str, trace: impl Display, ours: impl Display) -> Finding {
    Finding::new(rule).with("trace", trace.to_string()).with("ours", ours.to_string())
}

/// Widths of windows that are tried.
const WINDOWS: usize = 4;
/// Epsilons that somebody's config has, or that are left out.
const EPSILONS: [f64; 9] = [0.0, 1e-6, 1e-5, 1e-8, 1e-12, 1e-4, 1e-3, 1e-2, 1e-1];
/// Bases of rotary frequencies that somebody's config has.
pub(crate) const THETAS: [f64; 11] = [1e4, 5e5, 1e6, 1e5, 2.5e5, 1e3, 5e4, 2e6, 5e6, 1e7, 130_000.0];

fn config(site: Site, setting: &Setting) -> Vec<Hypothesis> {
    let model = &setting.architecture;
    match site.op() {
        Op::Norm => EPSILONS
            .into_iter()
            .filter(|eps| eps.to_bits() != model.norm.eps.to_bits())
            .map(|eps| {
                let finding = Finding::new("rms-norm-eps").with("trace", eps).with("ours", model.norm.eps);
                let claim = Claim::of_setting(causes::EPS, "rms_norm_eps", finding);
                Hypothesis { claim, change: Change::Eps(eps) }
            })
            .collect(),
        Op::Act => activations(model, site),
        Op::Table(index) => rotary(model, index),
        Op::ScaleQuery => query_scales(model, site),
        _ => Vec::new(),
    }
}

fn activations(model: &Architecture, site: Site) -> Vec<Hypothesis> {
    let Some(own) = site.layer().map(|n| model.layers[n].feed_forward.act) else { return Vec::new() };
    let others = [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::GeluNew];
    let hypothesis = |act: Activation| {
        let claim = Claim::of_setting(causes::ACTIVATION, "hidden_act", beside("hidden-act", act, own));
        Hypothesis { claim, change: Change::Act(act) }
    };
    others.into_iter().filter(|act| *act != own).map(hypothesis).collect()
}

/// β and lengths by which somebody's config scales queries; of 0, they are not scaled.
fn query_scales(model: &Architecture, site: Site) -> Vec<Hypothesis> {
    let Some(own) = site.layer().and_then(|n| model.layers[n].attention.query_scale) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let lengths = [model.max_positions as f64, 4096.0, 8192.0, 16384.0, 32768.0];
    for original in [1.0, 0.5, 2.0].map(|times| times * own.original).into_iter().chain(lengths) {
        for beta in [own.beta, 0.1, 0.0, 0.05, 0.2, 0.25, 0.5, 1.0] {
            let scale = QueryScale { beta, original };
            if scale != own && !all.contains(&scale) {
                all.push(scale);
            }
        }
    }
    let hypothesis = |scale: QueryScale| {
        let finding = Finding::new("query-scale").with("beta", scale.beta).with("from", scale.original);
        let finding = finding.with("own_beta", own.beta).with("own_from", own.original);
        let claim = Claim::of_setting(causes::TEMPERATURE, "llama_4_scaling_beta", finding);
        Hypothesis { claim, change: Change::QueryScale(scale) }
    };
    all.into_iter().map(hypothesis).collect()
}

fn rotary(model: &Architecture, index: usize) -> Vec<Hypothesis> {
    let buffers = [DType::Bf16, DType::F16].map(|dtype| {
        let about = Subject::Buffer { name: model.ropes[index].buffers[0].to_owned() };
        let finding = Finding::new("buffer-rounded").with("format", dtype.to_string());
        let claim = Claim::new(causes::ROTARY_BUFFER, String::new(), about, Evidence::Fact(finding));
        Hypothesis { claim, change: Change::Buffers(dtype) }
    });
    let rope = &model.ropes[index].parameters;
    let with = |claim: Claim, rope: RopeParameters| Hypothesis { claim, change: Change::Rope(index, rope) };
    let theta = |theta: f64| {
        let finding = Finding::new("rope-theta").with("trace", theta).with("ours", rope.rope_theta);
        let claim = Claim::of_setting(causes::ROPE_THETA, "rope_theta", finding);
        with(claim, RopeParameters { rope_theta: theta, ..rope.clone() })
    };
    let scaling = |finding: Finding| Claim::of_setting(causes::ROPE_SCALING, "rope_scaling", finding);
    let scaled = |kind: RopeKind| {
        let claim = scaling(beside("rope-scaling", &kind, &rope.kind));
        with(claim, RopeParameters { kind, ..rope.clone() })
    };
    let thetas = THETAS.into_iter().filter(|t| *t != rope.rope_theta).map(theta);
    let linear = [2.0, 4.0, 8.0, 16.0, 32.0].map(|factor| RopeKind::Linear { factor });
    let kinds = std::iter::once(RopeKind::Default).chain(linear).chain(stretched(model.max_positions));
    let kinds = near(&rope.kind).into_iter().chain(kinds).filter(|kind| *kind != rope.kind);
    let plain = rope.factors.as_ref().map(|_| {
        let claim = scaling(Finding::new("rope-factors-missing"));
        with(claim, RopeParameters { factors: None, ..rope.clone() })
    });
    buffers.into_iter().chain(thetas).chain(kinds.map(scaled)).chain(plain).collect()
}

/// Scalings of the kind of ours, with one number otherwise: of YaRN the factor on cosines and
/// sines, or how far it reaches.
fn near(own: &RopeKind) -> Vec<RopeKind> {
    let RopeKind::Yarn { factor, attention_factor, .. } = *own else { return Vec::new() };
    let with = |factor: f64, attention_factor: f64| {
        let mut kind = own.clone();
        if let RopeKind::Yarn { factor: f, attention_factor: a, .. } = &mut kind {
            (*f, *a) = (factor, attention_factor);
        }
        kind
    };
    let implied = |factor: f64| 0.1 * f64::ln(factor) + 1.0;
    let mut all =
        vec![with(factor, 1.0), with(factor, implied(factor)), with(factor, implied(factor).powi(2))];
    for other in [2.0, 4.0, 8.0, 16.0, 32.0, 40.0] {
        all.extend([with(other, attention_factor), with(other, implied(other))]);
    }
    all
}

/// YaRN and Llama 3's scaling, as configs have them: by these factors, from these lengths.
fn stretched(max_positions: usize) -> Vec<RopeKind> {
    let most = max_positions as f64;
    let mut all = Vec::new();
    for factor in [2.0, 4.0, 8.0, 16.0, 32.0, 40.0] {
        let mut lengths = vec![most, most / factor, 128.0, 2048.0, 4096.0, 8192.0, 32_768.0];
        lengths.sort_by(f64::total_cmp);
        lengths.dedup();
        for original_max_position_embeddings in lengths {
            all.push(RopeKind::Yarn {
                factor,
                attention_factor: 0.1 * f64::ln(factor) + 1.0,
                beta_fast: 32.0,
                beta_slow: 1.0,
                truncate: true,
                original_max_position_embeddings,
            });
        }
    }
    let llama3 = |factor| RopeKind::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    };
    all.extend([8.0, 32.0].map(llama3));
    all
}

/// The same operation on another tensor of the same kind.
fn wiring(site: Site, setting: &Setting) -> Vec<Hypothesis> {
    let model = &setting.architecture;
    let kind = |site: Site| (model.node(site).along, model.node(site).shape);
    let before = model.begins_with(site.part());
    let mut others: Vec<Site> = before.into_iter().collect();
    if site.layer().is_some() {
        others.extend(model.sites_of(site.part()));
    }
    others.push(model.site_of(Part::Stem, 0));
    let mut all = Vec::new();
    for read in model.reads(site, setting.semantics.base.attention) {
        for &by in others.iter().filter(|&&by| by != read && by != site && kind(by) == kind(read)) {
            let name = |s: Site| class(&s.to_string());
            let what = |s: Site| if Some(s) == before { "block-input".to_owned() } else { name(s) };
            let finding = beside("reads", what(by), what(read)).with("site", name(site));
            let about = Subject::Sites { names: vec![site.to_string()] };
            let claim = Claim::new(causes::WIRING, name(site), about, Evidence::Fact(finding));
            all.push(Hypothesis { claim, change: Change::Rewired { read, by } });
        }
    }
    all
}
