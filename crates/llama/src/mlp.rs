//! The gated feed-forward layer.

use burn::tensor::Tensor;
use ulpscope_kernels::{Linear, bridge};

use crate::activation::Activation;
use crate::arithmetic::Arithmetic;
use crate::ops::{mul, narrow, wide};
use crate::probe::{Probe, product};
use crate::site::{BlockSite, Site};
use crate::variant;

/// `down_proj(act_fn(gate_proj(x)) · up_proj(x))`.
#[derive(Clone, Debug)]
pub struct Mlp {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
    pub(crate) act_fn: Activation,
}

impl Mlp {
    /// # Shapes
    /// - `x`: `[1, T, C]`, returns `[1, T, C]`
    ///
    /// # Precision
    /// Five roundings to the storage dtype: gate, up, the activation, the product, down. Variants leave out the third,
    /// or add one.
    pub fn forward(
        &self,
        x: Tensor<3>,
        arithmetic: Arithmetic,
        layer: usize,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let site = |s| Site::Block(layer, s);
        let (order, variants) = (arithmetic.accumulation, arithmetic.variants);
        let gate = product(probe, site(BlockSite::GateProj), || self.gate_proj.forward(x.clone(), order));
        // PyTorch evaluates the activation before `up_proj`, but the order of sites follows the layers' names.
        let up = product(probe, site(BlockSite::UpProj), || self.up_proj.forward(x, order));
        let (gate, up) = match variants.mlp {
            Some(variant::Mlp::Swapped) => (up, gate),
            _ => (gate, up),
        };
        let seen = probe.wants(site(BlockSite::ActFn));
        let gated = if let Some(variant::Mlp::Fused) = variants.mlp {
            let exact = self.act_fn.unrounded(gate, variants.act);
            let shown = narrow(exact.clone(), up.dtype());
            let act = if seen { probe.at(site(BlockSite::ActFn), shown.clone()) } else { shown.clone() };
            // What a probe has put there is multiplied; what it only looked at never existed as a rounded tensor.
            if bridge::floats(&act).bytes() == bridge::floats(&shown).bytes() {
                let dtype = up.dtype();
                narrow(exact * wide(up), dtype)
            } else {
                mul(act, up)
            }
        } else if seen || variants.act.is_some() {
            let act = self.act_fn.forward(gate, variants.act);
            let act = if seen { probe.at(site(BlockSite::ActFn), act) } else { act };
            mul(act, up)
        } else {
            self.act_fn.gate(gate, up)
        };
        let gated = probe.at(site(BlockSite::Product), gated);
        product(probe, site(BlockSite::DownProj), || self.down_proj.forward(gated, order))
    }
}
