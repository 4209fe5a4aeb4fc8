//! The product of a gated feed-forward layer.

use burn::tensor::Tensor;
use ulpscope_kernels::bridge;

use crate::departure::Mlp;
use crate::layer::FeedForward;
use crate::ops::{mul, narrow, wide};
use crate::probe::Probe;
use crate::site::Site;

/// `act(gate) · up`; `act` is the activation's site.
///
/// # Shapes
/// - `gate`, `up`: `[1, T, F]`, returns the same
///
/// # Precision
/// Two roundings to the storage dtype: the activation, the product. Variants leave out the first,
/// or add one.
pub(crate) fn gated(
    layer: &FeedForward,
    [gate, up]: [Tensor<3>; 2],
    act: Site,
    probe: &mut impl Probe,
) -> Tensor<3> {
    let seen = probe.wants(act);
    if let Some(Mlp::Fused) = layer.gating {
        let exact = layer.act.unrounded(gate, layer.rounding);
        let shown = narrow(exact.clone(), up.dtype());
        let act = if seen { probe.at(act, shown.clone()) } else { shown.clone() };
        // What a probe has put there is multiplied; what it only looked at never existed as a
        // rounded tensor.
        if bridge::floats(&act).bytes() == bridge::floats(&shown).bytes() {
            let dtype = up.dtype();
            narrow(exact * wide(up), dtype)
        } else {
            mul(act, up)
        }
    } else if seen || layer.rounding.is_some() {
        let activated = layer.act.forward(gate, layer.rounding);
        let activated = if seen { probe.at(act, activated) } else { activated };
        mul(activated, up)
    } else {
        layer.act.gate(gate, up)
    }
}
