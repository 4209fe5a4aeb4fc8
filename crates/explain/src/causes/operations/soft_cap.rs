//! Scores or logits bent towards a largest magnitude by tanh.
//!
//! Gemma 2 bends attention scores with a cap of 50 and logits with one of 30: `30·tanh(x/30)`.

use ulpscope_decoder::Op;
use ulpscope_record::Finding;

use crate::causes::{CauseKind, Scope, Severity, Test};
use crate::trace::formula::at::{At, Case};

pub(crate) static CAUSE: CauseKind = CauseKind {
    id: "soft-cap",
    title: "scores or logits bent towards a largest magnitude by tanh",
    remedy: "This model has no attn_logit_softcapping and no final_logit_softcapping (Gemma 2 has): load the config into the class that it belongs to.",
    severity: Severity::Defect,
    scope: Scope::PerTensor,
    ..CauseKind::BASE
};

pub(crate) static TEST: Test = Test { cause: &CAUSE, ops: |op| matches!(op, Op::Scores | Op::Linear), find };

/// Scores or logits bent by a hyperbolic tangent towards a largest magnitude.
fn find(at: &At) -> Option<Finding> {
    if at.site.op() == Op::Linear && at.site != at.model.logits() {
        return None;
    }
    /// Those that somebody's config has.
    const KNOWN: [f64; 6] = [50.0, 30.0, 20.0, 15.0, 10.0, 5.0];
    let bent =
        |cap: f64, case: &Case| Some(case.ours.iter().map(|z| cap * (z / cap).tanh()).collect::<Vec<f64>>());
    // As three operations of the trace's format.
    let in_steps = |cap: f64, case: &Case| {
        let inner = at.rounded(case.ours.iter().map(|z| z / cap).collect());
        let tanh = at.rounded(inner.into_iter().map(f64::tanh).collect());
        Some(tanh.into_iter().map(|x| x * cap).collect::<Vec<f64>>())
    };
    let largest =
        at.cases.iter().flat_map(|case| &case.ours).map(|z| z.abs()).filter(|z| *z < 6e4).fold(0.0, f64::max);
    let best = at.best([largest / 1000.0, largest * 20.0], bent);
    let fits = |cap: f64| at.gives(|case| bent(cap, case)) || at.reproduces(|case| in_steps(cap, case));
    let cap = [best].into_iter().chain(KNOWN).find(|&cap| largest > 0.0 && cap.is_normal() && fits(cap))?;
    Some(Finding::new("soft-cap").with("cap", cap))
}
