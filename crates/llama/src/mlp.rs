//! The gated feed-forward layer.

use burn::tensor::Tensor;
use ulpscope_kernels::{Accumulation, Linear};

use crate::activation::Activation;
use crate::ops::mul;
use crate::probe::Probe;
use crate::site::{BlockSite, Site};

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
    /// Five roundings to the storage dtype: gate, up, the activation, the product, down.
    pub fn forward(
        &self,
        x: Tensor<3>,
        order: Accumulation,
        layer: usize,
        probe: &mut impl Probe,
    ) -> Tensor<3> {
        let site = |s| Site::Block(layer, s);
        let gate = probe.at(site(BlockSite::GateProj), self.gate_proj.forward(x.clone(), order));
        // PyTorch evaluates the activation before `up_proj`, but the order of sites follows the layers' names.
        let up = probe.at(site(BlockSite::UpProj), self.up_proj.forward(x, order));
        let product = if probe.wants(site(BlockSite::ActFn)) {
            let act = probe.at(site(BlockSite::ActFn), self.act_fn.forward(gate));
            mul(act, up)
        } else {
            self.act_fn.gate(gate, up)
        };
        let product = probe.at(site(BlockSite::Product), product);
        probe.at(site(BlockSite::DownProj), self.down_proj.forward(product, order))
    }
}
