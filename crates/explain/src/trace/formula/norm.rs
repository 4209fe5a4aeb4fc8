//! Norms of other kinds, and norms where Llama has none.

use ulpscope_decoder::{Op, Site};
use ulpscope_floats::DType;
use ulpscope_record::Finding;

use super::numbers::{constant, dot, rms, simple};
use super::{At, Case, Formula, found, in_format};
use crate::causes;

/// A norm: what it reads, and its weight.
struct Norm<'n, 's> {
    at: &'n At<'s>,
    from: Site,
    weight: Vec<f64>,
}

impl<'n, 's> Norm<'n, 's> {
    fn read(at: &'n At<'s>) -> Option<Self> {
        let [from] = at.model.reads(at.site, at.attention)[..] else { return None };
        Some(Norm { at, from, weight: at.weight.as_ref()?.to_f64() })
    }

    /// What a function of each token gives.
    fn by_token(&self, case: &Case, f: impl Fn(&[f64]) -> Vec<f64>) -> Option<Vec<f64>> {
        Some(case.read(self.from)?.chunks(self.weight.len()).flat_map(f).collect())
    }

    fn explains(&self, f: impl Fn(&[f64]) -> Vec<f64>) -> bool {
        self.at.explains(|case| self.by_token(case, &f))
    }

    fn weighted(&self, x: &[f64], factor: f64) -> Vec<f64> {
        x.iter().zip(&self.weight).map(|(x, w)| x * factor * w).collect()
    }

    /// One over the root of the mean square and epsilon.
    fn factor(&self, x: &[f64]) -> f64 {
        1.0 / (rms(x).powi(2) + self.at.model.norm.eps).sqrt()
    }

    fn once(&self, x: &[f64]) -> Vec<f64> {
        self.weighted(x, self.factor(x))
    }

    /// The mean of the squares over one less than their number.
    fn over_fewer(&self) -> bool {
        let width = self.weight.len() as f64;
        // In 16 bits it is hardly nearer than ours is.
        let less_one = ((width - 1.0) / width).sqrt();
        let factor = self.at.factors(1, |_, _| 0)[0];
        let times = |case: &Case| Some(case.ours.iter().map(|z| z * less_one).collect());
        let about = (factor - less_one).abs() < (1.0 - less_one) / 8.0 && self.at.explains(times);
        let squares = |x: &[f64]| rms(x).powi(2) * width / (width - 1.0) + self.at.model.norm.eps;
        about || self.explains(|x| self.weighted(x, 1.0 / squares(x).sqrt()))
    }

    /// One factor for all tokens.
    fn over_tokens(&self, case: &Case) -> Option<Vec<f64>> {
        let x = case.read(self.from)?;
        let factor = self.factor(&x);
        Some(x.chunks(self.weight.len()).flat_map(|x| self.weighted(x, factor)).collect())
    }
}

/// Our norm of a residual stream in another format.
pub(super) fn of_wide_stream(at: &At) -> Option<Formula> {
    let norm = Norm::read(at)?;
    let format = at.cases.first()?.recorded.get(&norm.from)?.values.dtype();
    // In two steps, between which Hugging Face rounds.
    let steps = |x: &[f64]| {
        let factor = norm.factor(x);
        norm.weighted(&at.rounded(x.iter().map(|x| x * factor).collect()), 1.0)
    };
    (format != at.own && at.gives(|case| norm.by_token(case, steps)))
        .then(|| Formula { kind: causes::COMPUTED_OTHERWISE, finding: in_format("residual-in", format) })
}

/// Norms of other kinds.
pub(super) fn other_kinds(at: &At) -> Option<Formula> {
    type Rule<'r> = (&'r str, &'r dyn Fn(&[f64]) -> Vec<f64>);
    let norm = Norm::read(at)?;
    let centred = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        norm.once(&x.iter().map(|x| x - mean).collect::<Vec<f64>>())
    };
    let plus_one = |x: &[f64]| -> Vec<f64> {
        let factor = norm.factor(x);
        x.iter().zip(&norm.weight).map(|(x, w)| x * factor * (1.0 + w)).collect()
    };
    if norm.over_fewer() {
        return found(causes::NORM_KIND, Finding::new("mean-over-n-1"));
    }
    if at.explains(|case| norm.over_tokens(case)) {
        return found(causes::NORM_KIND, Finding::new("mean-over-tokens"));
    }
    let rules: [Rule; 6] = [
        ("layer-norm", &centred),
        ("one-plus-weight", &plus_one),
        ("norm-twice", &|x| norm.once(&norm.once(x))),
        ("no-norm", &<[f64]>::to_vec),
        ("not-normalised", &|x| norm.weighted(x, 1.0)),
        ("length-for-rms", &|x| norm.weighted(x, 1.0 / dot(x, x).sqrt())),
    ];
    let (rule, _) = rules.into_iter().find(|(_, f)| norm.explains(f))?;
    let kind = if rule == "one-plus-weight" { causes::NORM_CONVENTION } else { causes::NORM_KIND };
    found(kind, Finding::new(rule))
}

/// Each token multiplied by one number of the format, near the one that it should be, and by the
/// weight, rounded each time. Which number that is, the rounding of a mean decides.
pub(super) fn in_steps(at: &At) -> Option<Formula> {
    let norm = Norm::read(at)?;
    let (width, unit) = (norm.weight.len(), at.dtype.unit_roundoff());
    let token = |(x, y): (&[f64], &[f64])| {
        (-8..=8).any(|steps| {
            let factor = at.rounded(vec![norm.factor(x) * (1.0 + f64::from(steps) * unit)])[0];
            let scaled = at.rounded(x.iter().map(|x| x * factor).collect());
            at.rounded(norm.weighted(&scaled, 1.0)) == y
        })
    };
    let all = |case: &Case| {
        let x = case.read(norm.from);
        x.is_some_and(|x| x.chunks(width).zip(case.theirs.chunks(width)).all(token))
    };
    (matches!(at.dtype, DType::Bf16 | DType::F16) && at.cases.iter().all(all))
        .then(|| Formula { kind: causes::NORM_ROUNDING, finding: in_format("steps-in", at.dtype) })
}

/// Another epsilon, outside of the root or inside.
pub(super) fn epsilons(at: &At) -> Option<Formula> {
    let norm = Norm::read(at)?;
    let outside = |eps: f64, case: &Case| norm.by_token(case, |x| norm.weighted(x, 1.0 / (rms(x) + eps)));
    let added = at.best([1e-8, 10.0], outside);
    if at.explains(|case| outside(added, case)) {
        return found(causes::NORM_KIND, Finding::new("epsilon-outside").with("eps", added));
    }
    let inside = |eps: f64, case: &Case| {
        norm.by_token(case, |x| norm.weighted(x, 1.0 / (rms(x).powi(2) + eps).sqrt()))
    };
    let added = at.best([1e-12, 10.0], inside);
    let finding = Finding::new("epsilon").with("eps", added);
    at.explains(|case| inside(added, case)).then_some(Formula { kind: causes::EPS, finding })
}

/// At a site that Llama does not normalise: ours, divided by the root mean square of each
/// of its vectors.
pub(super) fn normalised(at: &At) -> Option<Formula> {
    let width = if at.site.op() == Op::Embed { at.model.width } else { at.spec.head_dim };
    let over = |case: &Case, i: usize| rms(&case.ours[i / width * width..][..width]);
    let unit =
        |case: &Case| Some((0..case.ours.len()).map(|i| case.ours[i] / over(case, i)).collect::<Vec<f64>>());
    let size = at.cases.iter().flat_map(|case| case.theirs.chunks(width).map(rms)).collect::<Vec<f64>>();
    if !constant(&size) || size.len() < 4 {
        return None;
    }
    let size = size.iter().sum::<f64>() / size.len() as f64;
    let scaled = |case: &Case| Some(unit(case)?.into_iter().map(|x| x * size).collect());
    if !at.explains(scaled) {
        return None;
    }
    let finding = Finding::new("normalised").with("width", width).with("times", simple(size));
    found(causes::NORM_KIND, finding)
}
