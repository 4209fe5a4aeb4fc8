//! What is added to the residual stream: multiplied, normalised, dropped.

use ulpscope_decoder::{Branch, Op};
use ulpscope_floats::DType;
use ulpscope_record::Finding;

use super::numbers::{rms, simple};
use super::{At, Case, Formula, cast, found, in_format};
use crate::causes;

/// The residual stream and the output of a branch, as they are added.
pub(crate) fn terms(at: &At, case: &Case) -> Option<[Vec<f64>; 2]> {
    let [x, b] = at.model.reads(at.site, at.attention)[..] else { return None };
    Some([case.read(x)?, case.read(b)?])
}

/// The branch that is added.
pub(crate) fn branch(at: &At) -> &'static str {
    if at.site.op() == Op::Add(Branch::Attention) { "attention-output" } else { "mlp-output" }
}

/// The sum in another format.
pub(super) fn formats(at: &At) -> Option<Formula> {
    let added = |[x, b]: [Vec<f64>; 2]| -> Vec<f64> { x.iter().zip(&b).map(|(x, b)| x + b).collect() };
    let sum = |case: &Case| terms(at, case).map(added);
    if at.dtype != at.own && at.gives(sum) {
        return found(causes::COMPUTED_OTHERWISE, in_format("residual-in", at.dtype));
    }
    let narrow = |dtype: &DType| {
        let rounded = |case: &Case| Some(cast(added(terms(at, case)?.map(|x| cast(x, *dtype))), *dtype));
        at.reproduces(rounded) || at.reproduces(|case| Some(cast(sum(case)?, *dtype)))
    };
    let dtype = [DType::Bf16, DType::F16].into_iter().find(|dtype| *dtype != at.own && narrow(dtype))?;
    found(causes::COMPUTED_OTHERWISE, in_format("residual-in", dtype))
}

/// Ours cut off at the largest magnitude that the trace has.
pub(super) fn clamped(at: &At) -> Option<Formula> {
    let most = at.cases.iter().flat_map(|case| &case.theirs).fold(0.0, |most: f64, y| most.max(y.abs()));
    let cut = |case: &Case| case.theirs.iter().zip(&case.ours).all(|(y, z)| *y == z.clamp(-most, most));
    // A number that nobody would have chosen may be one that happened.
    let fits = most.is_normal() && simple(most) == most && at.cases.iter().all(cut);
    let finding = Finding::new("cut-off").with("most", most);
    fits.then_some(Formula { kind: causes::OUTPUT_CLAMPED, finding })
}

/// The branch's output normalised, with a weight that is found for each channel.
pub(super) fn normalised(at: &At) -> Option<Formula> {
    let width = at.model.width;
    let mut sums = vec![[0.0; 2]; width];
    let unit = |b: &[f64], i: usize| b[i] / rms(&b[i / width * width..][..width]);
    let mut tokens = 0;
    for case in &at.cases {
        let [x, b] = terms(at, case)?;
        tokens += case.tokens;
        for (i, y) in case.theirs.iter().enumerate() {
            let u = unit(&b, i);
            let [uy, uu] = &mut sums[i % width];
            (*uy, *uu) = (*uy + u * (y - x[i]), *uu + u * u);
        }
    }
    let gain: Vec<f64> = sums.iter().map(|[uy, uu]| uy / uu).collect();
    let fits = tokens >= 6
        && at.explains(|case| {
            let [x, b] = terms(at, case)?;
            Some((0..x.len()).map(|i| x[i] + gain[i % width] * unit(&b, i)).collect())
        });
    let finding = Finding::new("branch-normalised").with("branch", branch(at));
    fits.then_some(Formula { kind: causes::NORM_KIND, finding })
}
