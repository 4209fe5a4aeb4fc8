//! What fused kernels leave out: roundings between a sum and its norm, a projection and its
//! rotation, a softmax and its values.

use ulpscope_decoder::{Op, Part, Role, Site};
use ulpscope_floats::DType;
use ulpscope_record::Finding;

use super::at::{Case, cast};
use super::heads::{own_head, values};
use super::numbers::{dot, softmax};
use super::{At, Formula, found};
use crate::causes;

/// Tokens whose projections are computed again.
const TOKENS: usize = 16;

/// At a norm with this weight: of the sum that it reads before it is rounded, or of a stream that
/// is never rounded.
pub(super) fn norm(at: &At) -> Option<Formula> {
    let weight = &at.weight.as_ref()?.to_f64()[..];
    let [from] = at.model.reads(at.site, at.attention)[..] else { return None };
    type Input<'i> = (&'static causes::CauseKind, &'i dyn Fn(&Case) -> Option<Vec<f64>>);
    let sums: [Input; 2] = [
        (causes::NORM_UNROUNDED, &|case| sum(at, case, from)),
        (causes::STREAM_UNROUNDED, &|case| stream(at, case, from)),
    ];
    for (kind, input) in sums {
        for once in [false, true] {
            if at.reproduces(|case| Some(normalised(at, weight, &input(case)?, once))) {
                let rule = if kind == causes::NORM_UNROUNDED { "norm-of-sum" } else { "norm-of-stream" };
                return found(kind, Finding::new(rule).with("once", usize::from(once)));
            }
        }
    }
    None
}

/// At a sum: the residual stream kept in f32, and rounded where it was recorded.
pub(super) fn residual(at: &At) -> Option<Formula> {
    at.reproduces(|case| stream(at, case, at.site)).then_some(())?;
    found(causes::STREAM_UNROUNDED, Finding::new("stream-in-f32"))
}

/// The norm of this input, with one rounding at its end or with one before the weight, too.
fn normalised(at: &At, weight: &[f64], x: &[f64], once: bool) -> Vec<f64> {
    let eps = at.model.norm.eps;
    let of_row = |x: &[f64]| -> Vec<f64> {
        let factor = 1.0 / (dot(x, x) / x.len() as f64 + eps).sqrt();
        let scaled: Vec<f64> = x.iter().map(|x| x * factor).collect();
        let scaled = if once { scaled } else { at.rounded(scaled) };
        scaled.iter().zip(weight).map(|(x, w)| x * w).collect()
    };
    x.chunks(weight.len()).flat_map(of_row).collect()
}

/// The two terms of a sum, added in f32.
fn sum(at: &At, case: &Case, site: Site) -> Option<Vec<f64>> {
    let (Op::Add(_), [x, b]) = (site.op(), &at.model.reads(site, at.attention)[..]) else { return None };
    let (x, b) = (case.read(*x)?, case.read(*b)?);
    Some(cast(x.iter().zip(&b).map(|(x, b)| x + b).collect(), DType::F32))
}

/// The embedding and all that the branches have added up to a sum, in f32. `None` at the first sum,
/// which is the same.
fn stream(at: &At, case: &Case, site: Site) -> Option<Vec<f64>> {
    let Op::Add(_) = site.op() else { return None };
    let mut x = case.read(at.model.site_of(Part::Stem, 0))?;
    let mut added = 0;
    for layer in 0..=site.layer()? {
        for role in [Role::Attended, Role::Down] {
            let branch = at.in_layer(layer, role)?;
            if branch > site {
                continue;
            }
            let b = case.read(branch)?;
            x = cast(x.iter().zip(&b).map(|(x, b)| x + b).collect(), DType::F32);
            added += 1;
        }
    }
    (added > 1).then_some(x)
}

/// At rotated queries or keys: the projection rotated before it is rounded.
pub(super) fn rotated(at: &At) -> Option<Formula> {
    let from = at.reads_first().filter(|from| from.op() == Op::Linear)?;
    let [input] = at.model.reads(from, at.attention)[..] else { return None };
    let weight = at.weight.as_ref()?.to_f64();
    let bias = at.bias.as_ref();
    let width = at.spec.head_dim;
    let projected = |case: &Case| -> Option<Vec<f64>> {
        let x = case.read(input)?;
        let columns = x.len() / case.tokens.max(1);
        let rows = weight.len() / columns.max(1);
        let row = |x: &[f64], r: usize| {
            dot(x, &weight[r * columns..][..columns]) + bias.map_or(0.0, |bias| bias[r])
        };
        Some(
            x.chunks(columns)
                .take(TOKENS)
                .flat_map(|x| (0..rows).map(|r| row(x, r)).collect::<Vec<_>>())
                .collect(),
        )
    };
    let tables = at.model.tables(at.rope_index());
    let frequencies = at.rope().inv_freq(width);
    let of_case = |case: &Case, exact: bool, once: bool| -> Option<Vec<f64>> {
        let x = projected(case)?;
        let [cos, sin] = match exact {
            true => [f64::cos as fn(f64) -> f64, f64::sin].map(|f| {
                let angle =
                    |i: usize| f64::from((i / width) as f32 * frequencies[i % width % frequencies.len()]);
                (0..case.tokens * width).map(|i| f(angle(i))).collect::<Vec<f64>>()
            }),
            false => [case.read(tables[0])?, case.read(tables[1])?],
        };
        let tokens = x.len() / (case.ours.len() / case.tokens.max(1)).max(1);
        let heads = case.ours.len() / (case.tokens * width).max(1);
        let mut y = vec![f64::NAN; case.ours.len()];
        for h in 0..heads {
            for t in 0..tokens {
                let x = &x[(t * heads + h) * width..][..width];
                for i in 0..width {
                    let half = if i < width / 2 { -x[i + width / 2] } else { x[i - width / 2] };
                    let (a, b) = (x[i] * cos[t * width + i], half * sin[t * width + i]);
                    y[(h * case.tokens + t) * width + i] =
                        if once { a + b } else { at.rounded(vec![a, b]).iter().sum() };
                }
            }
        }
        Some(y)
    };
    let ways = [[false, true], [true, true], [false, false]];
    let any = ways.into_iter().any(|[exact, once]| at.reproduces(|case| of_case(case, exact, once)));
    any.then(|| found(causes::ROTATION_UNROUNDED, Finding::new("rotated-unrounded")))?
}

/// At the context of eager attention: probabilities in f32 meet the values, and are rounded where
/// they were recorded.
pub(super) fn context(at: &At) -> Option<Formula> {
    let (heads, width, of) = (at.spec.heads, at.spec.head_dim, own_head(at));
    let mixed = |case: &Case| {
        let (scores, v, t) = (at.read(case, Role::Scores)?, values(at, case)?, case.tokens);
        let mut y = vec![0.0; t * heads * width];
        for (row, scores) in scores.chunks(t).enumerate() {
            let (h, i) = (row / t, row % t);
            let y = &mut y[(i * heads + h) * width..][..width];
            for (j, p) in softmax(scores).into_iter().enumerate() {
                let v = &v[(of(h) * t + j) * width..][..width];
                y.iter_mut().zip(v).for_each(|(y, v)| *y += p * v);
            }
        }
        Some(y)
    };
    at.reproduces(mixed).then_some(())?;
    found(causes::CONTEXT_UNROUNDED, Finding::new("context-of-f32"))
}
