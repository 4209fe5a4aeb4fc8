//! Sums and products of what was recorded in the same block, and functions of ours: the last resort, where no formula of a
//! convention that is known gives the trace's values.

use ulpscope_decoder::Site;

use super::numbers::{sigmoid, silu};
use super::{At, Case, Formula};
use crate::causes;
use crate::layer_groups::class;

/// Functions of one number.
type Function = (&'static str, fn(f64) -> f64);

const FUNCTIONS: [Function; 9] = [
    ("silu", silu),
    ("relu", |x| x.max(0.0)),
    ("tanh", f64::tanh),
    ("sigmoid", sigmoid),
    ("gelu", |x| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x.powi(3))).tanh())),
    ("abs", f64::abs),
    ("square", |x| x * x),
    ("sqrt", f64::sqrt),
    ("exp", f64::exp),
];

/// Elements of the first prompt that an expression is tried on before all are.
const TASTE: usize = 64;

/// A recorded tensor of as many elements as the site's.
struct Operand {
    site: Site,
    values: Vec<Vec<f64>>,
}

/// What ours went through.
pub(super) fn function(at: &At) -> Option<Formula> {
    let (name, _) = FUNCTIONS
        .into_iter()
        .find(|(_, f)| at.gives(|case| Some(case.ours.iter().map(|z| f(*z)).collect())))?;
    Formula::new(causes::OUTPUT_MAPPED, format!("{name} of ours"))
}

/// A sum or a product of tensors of the same block, or a function of one of them times another.
pub(super) fn expression(at: &At) -> Option<Formula> {
    let operands = operands(at)?;
    let name = |operand: &Operand| {
        let begin = at.of.begins_with(at.site.part());
        if Some(operand.site) == begin {
            "the block's input".to_owned()
        } else {
            class(&operand.site.to_string())
        }
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
    let found = |said: String| Formula::new(causes::WIRING, said);
    for (i, x) in operands.iter().enumerate() {
        for (function, f) in FUNCTIONS {
            if holds(&|n, at| f(x.values[n][at])) {
                return found(format!("{function} of {}", name(x)));
            }
        }
        for (j, y) in operands.iter().enumerate() {
            if i < j && holds(&|n, at| x.values[n][at] + y.values[n][at]) {
                return found(format!("{} plus {}", name(x), name(y)));
            }
            if i != j && holds(&|n, at| x.values[n][at] - y.values[n][at]) {
                return found(format!("{} less {}", name(x), name(y)));
            }
            if i <= j && holds(&|n, at| x.values[n][at] * y.values[n][at]) {
                return found(format!("{} times {}", name(x), name(y)));
            }
            for (function, f) in FUNCTIONS {
                if i < j && holds(&|n, at| f(x.values[n][at] * y.values[n][at])) {
                    return found(format!("{function} of ({} times {})", name(x), name(y)));
                }
                if i < j && holds(&|n, at| f(x.values[n][at] + y.values[n][at])) {
                    return found(format!("{function} of ({} plus {})", name(x), name(y)));
                }
                if holds(&|n, at| f(x.values[n][at]) * y.values[n][at]) {
                    return found(format!("{function} of {} times {}", name(x), name(y)));
                }
            }
            for z in operands.iter().skip(j + 1).filter(|_| i < j) {
                if holds(&|n, at| x.values[n][at] + y.values[n][at] + z.values[n][at]) {
                    return found(format!("{} plus {} plus {}", name(x), name(y), name(z)));
                }
            }
        }
    }
    None
}

/// What was recorded in the block before the site, or what the block begins with, of as many elements.
fn operands(at: &At) -> Option<Vec<Operand>> {
    at.site.layer()?;
    let in_block = at.of.sites_of(at.site.part()).filter(|site| *site < at.site);
    let of = |site: Site| {
        let one = |case: &Case| case.read(site).filter(|values| values.len() == case.theirs.len());
        Some(Operand { site, values: at.cases.iter().map(one).collect::<Option<_>>()? })
    };
    Some(at.of.begins_with(at.site.part()).into_iter().chain(in_block).filter_map(of).collect())
}
