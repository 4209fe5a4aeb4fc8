//! Which arm is nearer to the truth, and what both have that it has not.

use ulpscope_compare::Plan;
use ulpscope_decoder::RotaryEmbedding;
use ulpscope_floats::DType;

use crate::arms::factor::largest;
use ulpscope_record::Truth;

use crate::arms::proof::Proof;
use crate::causes;
use crate::statistics::{interval, mean_or_zero};
use crate::words::short;

/// Which arm is nearer to the reference's stored weights, computed wide; and what both arms have
/// that those have not.
pub(crate) fn truth(plan: &Plan, proof: &Proof) -> Truth {
    let [a, b] = proof.truth();
    let apart = interval(a.len(), |sample| sample.iter().map(|&i| b[i] - a[i]).sum::<f64>());
    let nearer = match apart {
        [low, _] if low > 0.0 => Some(plan.arms[0].name.clone()),
        [_, high] if high < 0.0 => Some(plan.arms[1].name.clone()),
        _ => None,
    };
    let (intrinsic, mended) = proof.intrinsic_truth();
    let mut shared = shared(plan);
    if let Some(mended) = mended {
        let [before, _] = intrinsic;
        shared.push(format!(
            "set right in {}, that takes its distance from the truth from KL {} to {}, computed in {}",
            plan.arms[0].name,
            short(before),
            short(mended),
            proof.wide
        ));
    }
    let name = if plan.arms[0].arm.dtype() == DType::F64 || proof.wide == DType::F64 { "f64" } else { "f32" };
    Truth {
        what: format!(
            "the reference's checkpoint loaded and computed in {name} by Hugging Face's arithmetic"
        ),
        kl: [mean_or_zero(&a), mean_or_zero(&b)],
        nearer,
        intrinsic,
        mended,
        shared,
    }
}

/// What both arms have that the formulas and Hugging Face's arithmetic have not, one sentence each.
/// The truth is computed by those, so that this can be seen where a comparison of the two arms
/// shows nothing.
pub(crate) fn shared(plan: &Plan) -> Vec<String> {
    let mut shared = Vec::new();
    let off: Vec<(String, f64)> = plan
        .arms
        .iter()
        .filter_map(|arm| {
            let formula = RotaryEmbedding::all(arm.arm.architecture());
            let held = arm.arm.rotary().0;
            let off = |(x, y): (&RotaryEmbedding, &RotaryEmbedding)| largest(&x.inv_freq, &y.inv_freq);
            let off = formula.iter().zip(&held).map(off).fold(0.0, f64::max);
            (off > 0.0).then(|| (held[0].inv_freq.dtype().to_string(), off))
        })
        .collect();
    let buffer = plan.arms[0].arm.architecture().ropes[0].buffers[0];
    if let [(a, off_a), (b, off_b)] = &off[..] {
        shared.push(format!(
            "both arms hold {buffer} ({a} and {b}) off its formula, by up to {off_a:.1e} and {off_b:.1e} rad \
             per position ({}): a comparison of the two can't show what that does",
            causes::ROTARY_BUFFER.title
        ));
    }
    let first: Vec<_> = plan.arms[0].semantics.departures().collect();
    for departure in plan.arms[1].semantics.departures().filter(|d| first.contains(d)) {
        let title = causes::of_variant(departure.variant, plan.arms[1].arm.architecture()).title;
        shared.push(format!(
            "both arms compute with {departure} ({title}), which Hugging Face's model does not"
        ));
    }
    shared
}
