//! An operation that reads another tensor than it should.
//!
//! A block whose second residual adds its input again: `the block's input plus down_proj`.

use ulpscope_decoder::Site;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::layer_groups::class;
use crate::trace::formula::at::{At, Case};
use crate::trace::formula::numbers::FUNCTIONS;

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "reads-another-tensor",
    title: "an operation that reads another tensor than it should",
    remedy: "Look at the block's forward pass: a norm stands before its layer, and the residual stream is carried around both.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |_| true, find };

/// Elements of the first prompt that an expression is tried on before all are.
const TASTE: usize = 64;

/// A recorded tensor of as many elements as the site's.
struct Operand {
    site: Site,
    values: Vec<Vec<f64>>,
}

/// A sum or a product of tensors of the same block, or a function of one of them times another.
fn find(at: &At) -> Option<Finding> {
    let operands = operands(at)?;
    let name = |operand: &Operand| {
        let begin = at.model.begins_with(at.site.part());
        if Some(operand.site) == begin { "block-input".to_owned() } else { class(&operand.site.to_string()) }
    };
    let holds = |of: &dyn Fn(usize, usize) -> f64| {
        let likely = {
            let (theirs, unit) = (&at.cases[0].theirs, at.dtype.unit_roundoff());
            let step = (theirs.len() / TASTE).max(1) | 1;
            let some = || (0..TASTE.min(theirs.len())).map(|i| i * step % theirs.len());
            let size = some().map(|i| theirs[i].abs()).fold(0.0, f64::max);
            size > 0.0 && some().all(|i| (theirs[i] - of(0, i)).abs() <= 16.0 * unit.max(1e-7) * size)
        };
        let all = |case: &Case| {
            let n = at.cases.iter().position(|other| std::ptr::eq(other, case))?;
            Some((0..case.theirs.len()).map(|i| of(n, i)).collect())
        };
        likely && at.gives(all)
    };
    let wired = |rule: &str, terms: &[&Operand]| {
        let named = ["x", "y", "z"].iter().zip(terms);
        named.fold(Finding::new(rule), |finding, (key, operand)| finding.with(key, name(operand)))
    };
    let sum = |rule: &str, terms: &[&Operand]| Some(wired(rule, terms));
    let function_of = |rule: &str, function: &str, terms: &[&Operand]| {
        Some(wired(rule, terms).with("function", function))
    };
    for (i, x) in operands.iter().enumerate() {
        for (function, f) in FUNCTIONS {
            if holds(&|n, at| f(x.values[n][at])) {
                return function_of("function", function, &[x]);
            }
        }
        for (j, y) in operands.iter().enumerate() {
            if i < j && holds(&|n, at| x.values[n][at] + y.values[n][at]) {
                return sum("sum", &[x, y]);
            }
            if i != j && holds(&|n, at| x.values[n][at] - y.values[n][at]) {
                return sum("difference", &[x, y]);
            }
            if i <= j && holds(&|n, at| x.values[n][at] * y.values[n][at]) {
                return sum("product", &[x, y]);
            }
            for (function, f) in FUNCTIONS {
                if i < j && holds(&|n, at| f(x.values[n][at] * y.values[n][at])) {
                    return function_of("function-of-product", function, &[x, y]);
                }
                if i < j && holds(&|n, at| f(x.values[n][at] + y.values[n][at])) {
                    return function_of("function-of-sum", function, &[x, y]);
                }
                if holds(&|n, at| f(x.values[n][at]) * y.values[n][at]) {
                    return function_of("function-times", function, &[x, y]);
                }
            }
            for z in operands.iter().skip(j + 1).filter(|_| i < j) {
                if holds(&|n, at| x.values[n][at] + y.values[n][at] + z.values[n][at]) {
                    return sum("sum-of-three", &[x, y, z]);
                }
            }
        }
    }
    None
}

/// What was recorded in the block before the site, or what the block begins with, of as many
/// elements.
fn operands(at: &At) -> Option<Vec<Operand>> {
    at.site.layer()?;
    let in_block = at.model.sites_of(at.site.part()).filter(|site| *site < at.site);
    let of = |site: Site| {
        let whole = |case: &Case| case.read(site).filter(|values| values.len() == case.theirs.len());
        Some(Operand { site, values: at.cases.iter().map(whole).collect::<Option<_>>()? })
    };
    Some(at.model.begins_with(at.site.part()).into_iter().chain(in_block).filter_map(of).collect())
}
