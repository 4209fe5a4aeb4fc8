//! What a trace's model may have done otherwise: departures of arithmetic, fields of the config, buffers, wiring.

use ulpscope_compare::Setting;
use ulpscope_decoder::{
    Activation, Architecture, AttentionKind, Departure, Layers, Op, Part, QueryScale, RopeKind,
    RopeParameters, RotaryEmbedding, Semantics, Site, Variant,
    departure::{Mask, Positions},
};
use ulpscope_floats::{DType, Floats};

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::causes::{self, CauseKind};

/// One thing that a trace's model may have done otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Hypothesis {
    /// The same at other layers has the same key.
    pub(crate) key: String,
    pub(crate) fault: &'static CauseKind,
    /// What it is about, with the layer left open.
    pub(crate) subject: String,
    /// What the trace has, and what ours has.
    pub(crate) relation: String,
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
    Rewired { of: Site, by: Site },
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
            Change::Rewired { of, by } => setting.rewired.push((*of, *by)),
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

    /// The sites that have to be in order for it to hold at one: both tables are of one base and one scaling.
    pub(crate) fn sites(&self, of: &Architecture, site: Site) -> Vec<Site> {
        match (self, site.op()) {
            (Change::Rope(..) | Change::Buffers(_), Op::Table(rope)) => of.tables(rope).to_vec(),
            _ => vec![site],
        }
    }

    /// The site whose readers are given another's activation.
    pub(crate) fn rewired(&self) -> Option<Site> {
        match self {
            Change::Rewired { of, .. } => Some(*of),
            _ => None,
        }
    }

    /// Whether a free run can be made to do it: it can't read what it has not computed yet.
    pub(crate) fn runs_free(&self, part: Part, architecture: &Architecture) -> bool {
        match self {
            Change::Rewired { of, by } => by < of && Some(*of) != architecture.begins_with(part),
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

/// What arithmetic, config, buffers and wiring can do to a site that differs from this token on, the simplest first.
pub(crate) fn hypotheses(site: Site, setting: &Setting, dtype: DType, first: usize) -> Vec<Hypothesis> {
    let mut all = variants(site, setting, dtype, first);
    all.extend(config(site, setting));
    all.extend(wiring(site, setting));
    all
}

fn variants(site: Site, setting: &Setting, dtype: DType, first: usize) -> Vec<Hypothesis> {
    let (of, attention) = (&setting.architecture, setting.semantics.base.attention);
    let offsets = (-8..=8).filter(|n| !matches!(n, 0 | 1)).map(|n| Variant::Positions(Positions::From(n)));
    // The first key that a window hides is out of sight of the token that is as far from it as the window is wide; a few
    // may lose it without losing a bit.
    let mut widths: Vec<usize> = (first.saturating_sub(WINDOWS - 1)..=first).rev().collect();
    // One that is wider than ours shows where ours begins to hide, however wide.
    if let Some(Mask::Window(own)) = site.layer().map(|n| of.layers[n].attention.mask) {
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
        .filter(|variant| variant.touches(of, attention, dtype).contains(&site))
        .map(|variant| Hypothesis {
            key: variant.to_string(),
            fault: causes::of_variant(variant, of),
            subject: format!("arithmetic: {}", variant.class()),
            relation: format!("trace: {variant}, ours: Hugging Face's"),
            change: Change::Variant(variant),
        })
        .collect();
    if site.op() == Op::Mix {
        let other = match attention {
            AttentionKind::Eager => AttentionKind::Sdpa,
            AttentionKind::Sdpa => AttentionKind::Eager,
        };
        all.push(Hypothesis {
            key: format!("attention {other}"),
            fault: causes::ATTENTION,
            subject: "attention implementation".to_owned(),
            relation: format!("trace: {other}, ours: {attention}"),
            change: Change::Attention(other),
        });
    }
    all
}

/// Widths of windows that are tried.
const WINDOWS: usize = 4;
/// Epsilons that somebody's config has, or that are left out.
const EPSILONS: [f64; 9] = [0.0, 1e-6, 1e-5, 1e-8, 1e-12, 1e-4, 1e-3, 1e-2, 1e-1];
/// Bases of rotary frequencies that somebody's config has.
pub(crate) const THETAS: [f64; 11] = [1e4, 5e5, 1e6, 1e5, 2.5e5, 1e3, 5e4, 2e6, 5e6, 1e7, 130_000.0];

fn config(site: Site, setting: &Setting) -> Vec<Hypothesis> {
    let of = &setting.architecture;
    match site.op() {
        Op::Norm => EPSILONS
            .into_iter()
            .filter(|eps| eps.to_bits() != of.norm.eps.to_bits())
            .map(|eps| Hypothesis {
                key: format!("rms_norm_eps {eps:e}"),
                fault: causes::EPS,
                subject: "rms_norm_eps".to_owned(),
                relation: format!("trace: {eps:e}, ours: {:e}", of.norm.eps),
                change: Change::Eps(eps),
            })
            .collect(),
        Op::Act => Activation::NAMES
            .into_iter()
            .filter_map(|name| Some((name, Activation::from_name(name)?)))
            .filter(|(name, act)| Some(*act) != own_act(of, site) && *name != "swish")
            .map(|(name, act)| Hypothesis {
                key: format!("hidden_act {name}"),
                fault: causes::ACTIVATION,
                subject: "hidden_act".to_owned(),
                relation: format!("trace: {name}, ours: {:?}", own_act(of, site).unwrap_or(act)),
                change: Change::Act(act),
            })
            .collect(),
        Op::Table(index) => rotary(of, index),
        Op::ScaleQuery => query_scales(of, site),
        _ => Vec::new(),
    }
}

/// β and lengths by which somebody's config scales queries; of 0, they are not scaled.
fn query_scales(of: &Architecture, site: Site) -> Vec<Hypothesis> {
    let Some(own) = site.layer().and_then(|n| of.layers[n].attention.query_scale) else { return Vec::new() };
    let mut all = Vec::new();
    let lengths = [of.max_positions as f64, 4096.0, 8192.0, 16384.0, 32768.0];
    for original in [1.0, 0.5, 2.0].map(|times| times * own.original).into_iter().chain(lengths) {
        for beta in [own.beta, 0.1, 0.0, 0.05, 0.2, 0.25, 0.5, 1.0] {
            let scale = QueryScale { beta, original };
            if scale != own && !all.contains(&scale) {
                all.push(scale);
            }
        }
    }
    let said = |scale: QueryScale| format!("beta {} from {} on", scale.beta, scale.original);
    let hypothesis = |scale: QueryScale| Hypothesis {
        key: format!("query scale {}", said(scale)),
        fault: causes::TEMPERATURE,
        subject: "llama_4_scaling_beta".to_owned(),
        relation: format!("trace: {}, ours: {}", said(scale), said(own)),
        change: Change::QueryScale(scale),
    };
    all.into_iter().map(hypothesis).collect()
}

fn own_act(of: &Architecture, site: Site) -> Option<Activation> {
    Some(of.layers[site.layer()?].feed_forward.act)
}

fn rotary(of: &Architecture, index: usize) -> Vec<Hypothesis> {
    let buffers = [DType::Bf16, DType::F16].map(|dtype| Hypothesis {
        key: format!("inv_freq {dtype}"),
        fault: causes::ROTARY_BUFFER,
        subject: of.ropes[index].buffers[0].to_owned(),
        relation: format!("trace = round_{dtype}(ours)"),
        change: Change::Buffers(dtype),
    });
    let rope = &of.ropes[index].parameters;
    let theta = |theta: f64| {
        let relation = format!("trace: theta {theta}; ours: theta {}", rope.rope_theta);
        ("rope_theta", causes::ROPE_THETA, relation, RopeParameters { rope_theta: theta, ..rope.clone() })
    };
    let scaled = |kind: RopeKind| {
        let relation = format!("trace: {kind:?}; ours: {:?}", rope.kind);
        ("rope_scaling", causes::ROPE_SCALING, relation, RopeParameters { kind, ..rope.clone() })
    };
    let thetas = THETAS.into_iter().filter(|t| *t != rope.rope_theta).map(theta);
    let linear = [2.0, 4.0, 8.0, 16.0, 32.0].map(|factor| RopeKind::Linear { factor });
    let kinds = std::iter::once(RopeKind::Default).chain(linear).chain(stretched(of.max_positions));
    let kinds = near(&rope.kind).into_iter().chain(kinds).filter(|kind| *kind != rope.kind);
    let plain = rope.factors.as_ref().map(|_| {
        let relation = "trace: no factors; ours: rope_freqs of the file".to_owned();
        ("rope_scaling", causes::ROPE_SCALING, relation, RopeParameters { factors: None, ..rope.clone() })
    });
    let ropes = thetas.chain(kinds.map(scaled)).chain(plain);
    let ropes = ropes.map(|(subject, fault, relation, rope)| Hypothesis {
        key: format!("{subject} {relation}"),
        fault,
        subject: subject.to_owned(),
        relation,
        change: Change::Rope(index, rope),
    });
    buffers.into_iter().chain(ropes).collect()
}

/// Scalings of the kind of ours, with one number otherwise: of YaRN the factor on cosines and sines, or how far it reaches.
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
    let of = &setting.architecture;
    let kind = |site: Site| (of.node(site).along, of.node(site).shape);
    let before = of.begins_with(site.part());
    let mut others: Vec<Site> = before.into_iter().collect();
    if site.layer().is_some() {
        others.extend(of.sites_of(site.part()));
    }
    others.push(of.site_of(Part::Stem, 0));
    let mut all = Vec::new();
    for read in of.reads(site, setting.semantics.base.attention) {
        for &by in others.iter().filter(|&&by| by != read && by != site && kind(by) == kind(read)) {
            let name = |s: Site| crate::layer_groups::class(&s.to_string());
            let said = |s: Site| if Some(s) == before { "the block's input".to_owned() } else { name(s) };
            all.push(Hypothesis {
                key: format!("{} reads {} for {}", name(site), said(by), said(read)),
                fault: causes::WIRING,
                subject: format!("the input of {}", name(site)),
                relation: format!("trace: {}, ours: {}", said(by), said(read)),
                change: Change::Rewired { of: read, by },
            });
        }
    }
    all
}
