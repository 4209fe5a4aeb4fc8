//! Norms of other kinds, and norms where Llama has none.

use ulpscope_floats::DType;

use super::numbers::{constant, dot, rms, simple, text};
use super::{At, Case, Formula};
use crate::causes;

/// At the output of a norm with this weight.
pub(super) fn norm(at: &At, weight: &[f64]) -> Option<Formula> {
    let (width, eps) = (weight.len(), at.of.norm.eps);
    let [from] = at.of.reads(at.site, at.attention)[..] else { return None };
    let by_token = |case: &Case, f: &dyn Fn(&[f64]) -> Vec<f64>| {
        let x = case.read(from)?;
        Some(x.chunks(width).flat_map(f).collect::<Vec<f64>>())
    };
    let weighted =
        |x: &[f64], factor: f64| -> Vec<f64> { x.iter().zip(weight).map(|(x, w)| x * factor * w).collect() };
    let once = |x: &[f64]| weighted(x, 1.0 / (rms(x).powi(2) + eps).sqrt());
    // In two steps, between which Hugging Face rounds.
    let weightless = |x: &[f64]| -> Vec<f64> {
        let factor = 1.0 / (rms(x).powi(2) + eps).sqrt();
        x.iter().map(|x| x * factor).collect()
    };
    let weight_of = |x: &[f64]| weighted(x, 1.0);
    let centred = |x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x - mean).collect()
    };
    let fault = causes::NORM_KIND;
    let input = |case: &Case| case.recorded.get(&from).map(|x| x.values.dtype());
    if let Some(format) = at.cases.first().and_then(input).filter(|format| *format != at.own)
        && at.gives(|case| by_token(case, &|x| weight_of(&at.rounded(weightless(x)))))
    {
        return Formula::new(causes::COMPUTED_OTHERWISE, format!("the residual stream in {format}"));
    }
    let over_all = |case: &Case| {
        let x = case.read(from)?;
        let factor = 1.0 / (rms(&x).powi(2) + eps).sqrt();
        Some(x.chunks(width).flat_map(|x| weighted(x, factor)).collect())
    };
    let of_fewer = |x: &[f64]| {
        let n = x.len() as f64;
        weighted(x, 1.0 / (rms(x).powi(2) * n / (n - 1.0) + eps).sqrt())
    };
    // In 16 bits it is hardly nearer than ours is.
    let less_one = ((width as f64 - 1.0) / width as f64).sqrt();
    let factor = at.factors(1, |_, _| 0)[0];
    let times = |case: &Case| Some(case.ours.iter().map(|z| z * less_one).collect());
    let about = (factor - less_one).abs() < (1.0 - less_one) / 8.0 && at.explains(times);
    if about || at.explains(|case| by_token(case, &of_fewer)) {
        return Formula::new(fault, "the mean of the squares over n - 1");
    }
    if at.explains(over_all) {
        return Formula::new(fault, "the mean square over all tokens together");
    }
    if at.explains(|case| by_token(case, &|x| once(&centred(x)))) {
        return Formula::new(fault, "LayerNorm, the mean subtracted");
    }
    let plus_one =
        |x: &[f64]| -> Vec<f64> { weightless(x).iter().zip(weight).map(|(x, w)| x * (1.0 + w)).collect() };
    if at.explains(|case| by_token(case, &plus_one)) {
        return Formula::new(causes::NORM_CONVENTION, "times 1 + the weight");
    }
    if at.explains(|case| by_token(case, &|x| once(&once(x)))) {
        return Formula::new(fault, "the norm twice");
    }
    if at.explains(|case| by_token(case, &<[f64]>::to_vec)) {
        return Formula::new(fault, "no norm: its input");
    }
    if at.explains(|case| by_token(case, &|x| weighted(x, 1.0))) {
        return Formula::new(fault, "its input times the weight, not normalised");
    }
    if at.explains(|case| by_token(case, &|x| weighted(x, 1.0 / dot(x, x).sqrt()))) {
        return Formula::new(fault, "the length for the root mean square");
    }
    if matches!(at.dtype, DType::Bf16 | DType::F16) && in_storage(at, weight, &|case| case.read(from)) {
        return Formula::new(causes::NORM_ROUNDING, format!("every step in {}", at.dtype));
    }
    let outside = |eps: f64, case: &Case| by_token(case, &|x| weighted(x, 1.0 / (rms(x) + eps)));
    let added = at.best([1e-8, 10.0], outside);
    if at.explains(|case| outside(added, case)) {
        return Formula::new(fault, format!("epsilon outside the root, {}", text(added)));
    }
    let inside =
        |eps: f64, case: &Case| by_token(case, &|x| weighted(x, 1.0 / (rms(x).powi(2) + eps).sqrt()));
    let added = at.best([1e-12, 10.0], inside);
    at.explains(|case| inside(added, case))
        .then(|| Formula { fault: causes::EPS, said: format!("epsilon {}", text(added)) })
}

/// Whether each token is multiplied by one number of the format, near the one that it should be, and by the weight, rounded each
/// time. Which number that is, the rounding of a mean decides.
fn in_storage(at: &At, weight: &[f64], input: &dyn Fn(&Case) -> Option<Vec<f64>>) -> bool {
    let (width, eps) = (weight.len(), at.of.norm.eps);
    let unit = at.dtype.unit_roundoff();
    let token = |(x, y): (&[f64], &[f64])| {
        let factor = 1.0 / (rms(x).powi(2) + eps).sqrt();
        (-8..=8).any(|steps| {
            let factor = at.rounded(vec![factor * (1.0 + f64::from(steps) * unit)])[0];
            let scaled = at.rounded(x.iter().map(|x| x * factor).collect());
            let weighted = at.rounded(scaled.iter().zip(weight).map(|(x, w)| x * w).collect());
            weighted == y
        })
    };
    let all =
        |case: &Case| input(case).is_some_and(|x| x.chunks(width).zip(case.theirs.chunks(width)).all(token));
    at.cases.iter().all(all)
}

/// At the embeddings: with sines and cosines of the position added, in turns or in halves.
pub(super) fn with_positions(at: &At) -> Option<Formula> {
    let width = at.of.width;
    let added = |case: &Case, halves: bool| {
        let element = |i: usize| {
            let (t, c) = ((i / width) as f64, i % width);
            let (pair, second) = if halves { (c % (width / 2), c >= width / 2) } else { (c / 2, c % 2 == 1) };
            let angle = t / 1e4f64.powf(2.0 * pair as f64 / width as f64);
            case.ours[i] + if second { angle.cos() } else { angle.sin() }
        };
        Some((0..case.ours.len()).map(element).collect())
    };
    [false, true].into_iter().any(|halves| at.explains(|case| added(case, halves))).then(|| Formula {
        fault: causes::POSITION_BIAS,
        said: "plus sines and cosines of the position".to_owned(),
    })
}

/// At a site that Llama does not normalise: ours, divided by the root mean square of each of its vectors of this width.
pub(super) fn normalised(at: &At, width: usize) -> Option<Formula> {
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
    let times = match simple(size) {
        1.0 => String::new(),
        size => format!(", times {}", text(size)),
    };
    Formula::new(
        causes::NORM_KIND,
        format!("ours normalised to a root mean square of 1 by vectors of {width}{times}"),
    )
}
