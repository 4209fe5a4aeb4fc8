//! What is added to the residual stream: multiplied, normalised, dropped.

use ulpscope_decoder::{Branch, Op, Role};
use ulpscope_floats::DType;

use super::numbers::{rms, simple, text};
use super::{At, Case, Formula, cast};
use crate::causes;

/// At a sum of the residual stream and the output of a branch.
pub(super) fn residual(at: &At) -> Option<Formula> {
    let [x, b] = at.of.reads(at.site, at.attention)[..] else { return None };
    let mid = at.site.op() == Op::Add(Branch::Attention);
    let branch = if mid { "the attention's output" } else { "the MLP's output" };
    let terms = |case: &Case| -> Option<[Vec<f64>; 2]> { Some([case.read(x)?, case.read(b)?]) };
    let sum = |case: &Case| terms(case).map(|[x, b]| x.iter().zip(&b).map(|(x, b)| x + b).collect());
    if at.dtype != at.own && at.gives(sum) {
        return Formula::new(causes::COMPUTED_OTHERWISE, format!("the residual stream in {}", at.dtype));
    }
    for dtype in [DType::Bf16, DType::F16].into_iter().filter(|dtype| *dtype != at.own) {
        let narrow = |case: &Case| {
            let [x, b] = terms(case)?.map(|values| cast(values, dtype));
            Some(cast(x.iter().zip(&b).map(|(x, b)| x + b).collect(), dtype))
        };
        let sum_alone = |case: &Case| sum(case).map(|values: Vec<f64>| cast(values, dtype));
        if at.reproduces(narrow) || at.reproduces(sum_alone) {
            return Formula::new(causes::COMPUTED_OTHERWISE, format!("the residual stream in {dtype}"));
        }
    }
    // Least squares of y = αx + βb.
    let (mut xx, mut xb, mut bb, mut xy, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for case in &at.cases {
        let [x, b] = terms(case)?;
        for ((x, b), y) in x.iter().zip(&b).zip(&case.theirs) {
            (xx, xb, bb, xy, by) = (xx + x * x, xb + x * b, bb + b * b, xy + x * y, by + b * y);
        }
    }
    let over = xx * bb - xb * xb;
    let [of_x, of_b] = [(bb * xy - xb * by) / over, (xx * by - xb * xy) / over].map(simple);
    // The sum times a factor is no matter of branches.
    let of_branches = (of_x / of_b - 1.0).abs() > 0.01;
    if of_branches
        && at.explains(|case| {
            let [x, b] = terms(case)?;
            Some(x.iter().zip(&b).map(|(x, b)| of_x * x + of_b * b).collect())
        })
    {
        let said = match of_x {
            1.0 => format!("{branch} times {} is added", text(of_b)),
            _ => format!("{} times the residual stream plus {} times {branch}", text(of_x), text(of_b)),
        };
        return Formula::new(causes::BRANCH, said);
    }
    clamped(at)
        .or_else(|| parallel(at, &terms))
        .or_else(|| normalised(at, branch, &terms))
        .or_else(|| dropped(at, branch, &terms))
}

/// The attention's output added together with the MLP's.
fn parallel(at: &At, terms: &dyn Fn(&Case) -> Option<[Vec<f64>; 2]>) -> Option<Formula> {
    let three = |case: &Case| {
        let [x, b] = terms(case)?;
        let attention = at.read(case, Role::Attended)?;
        // In the order of the two sums.
        let first = at.rounded(x.iter().zip(&attention).map(|(x, a)| x + a).collect());
        Some(first.iter().zip(&b).map(|(x, b)| x + b).collect())
    };
    let output = at.site.op() == Op::Add(Branch::FeedForward);
    let said = "the attention's output is added here, beside the MLP's, as in a parallel residual".to_owned();
    (output && at.gives(three)).then_some(Formula { fault: causes::BRANCH, said })
}

/// Ours cut off at the largest magnitude that the trace has.
fn clamped(at: &At) -> Option<Formula> {
    let most = at.cases.iter().flat_map(|case| &case.theirs).fold(0.0, |most: f64, y| most.max(y.abs()));
    let cut = |case: &Case| case.theirs.iter().zip(&case.ours).all(|(y, z)| *y == z.clamp(-most, most));
    // A number that nobody would have chosen may be one that happened.
    let fits = most.is_normal() && simple(most) == most && at.cases.iter().all(cut);
    fits.then(|| Formula { fault: causes::OUTPUT_CLAMPED, said: format!("cut off at {}", text(most)) })
}

/// The branch's output normalised, with a weight that is found for each channel.
fn normalised(at: &At, branch: &str, terms: &dyn Fn(&Case) -> Option<[Vec<f64>; 2]>) -> Option<Formula> {
    let width = at.of.width;
    let mut sums = vec![[0.0; 2]; width];
    let unit = |b: &[f64], i: usize| b[i] / rms(&b[i / width * width..][..width]);
    let mut tokens = 0;
    for case in &at.cases {
        let [x, b] = terms(case)?;
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
            let [x, b] = terms(case)?;
            Some((0..x.len()).map(|i| x[i] + gain[i % width] * unit(&b, i)).collect())
        });
    let said = format!("{branch} is normalised before it is added");
    fits.then_some(Formula { fault: causes::NORM_KIND, said })
}

/// Elements of the branch's output dropped at random, the others made larger.
fn dropped(at: &At, branch: &str, terms: &dyn Fn(&Case) -> Option<[Vec<f64>; 2]>) -> Option<Formula> {
    let unit = at.dtype.unit_roundoff();
    let (mut kept, mut gone, mut factor) = (0.0, 0.0, [0.0; 2]);
    for case in &at.cases {
        let [x, b] = terms(case)?;
        for ((x, b), y) in x.iter().zip(&b).zip(&case.theirs) {
            // Where rounding can't be taken for either.
            if b.abs() < 64.0 * unit * (x.abs() + y.abs()) {
                continue;
            }
            if (y - x).abs() < 0.1 * b.abs() {
                gone += 1.0;
            } else {
                kept += 1.0;
                factor = [factor[0] + b * (y - x), factor[1] + b * b];
            }
        }
    }
    let (share, factor) = (gone / (gone + kept), factor[0] / factor[1]);
    let made_up = (factor * (1.0 - share) - 1.0).abs() < 0.1;
    let fits = gone >= 8.0
        && kept >= 8.0
        && made_up
        && at.explains(|case| {
            let [x, b] = terms(case)?;
            let nearest = |((x, b), y): ((&f64, &f64), &f64)| {
                let added = x + factor * b;
                if (y - x).abs() < (y - added).abs() { *x } else { added }
            };
            Some(x.iter().zip(&b).zip(&case.theirs).map(nearest).collect())
        });
    let said = format!("{:.0} % of {branch} dropped, the rest times {}", 100.0 * share, text(factor));
    fits.then_some(Formula { fault: causes::DROPOUT, said })
}
