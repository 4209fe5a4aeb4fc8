//! Teacher forcing that keeps what each site produced.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use ulpscope_capture::{Activations, Force};
use ulpscope_decoder::{Probe, Site, bridge};

/// The probe: every operation works on the reference's inputs, and what it makes of them is kept.
pub(crate) struct Teacher<'r> {
    reference: &'r Activations,
    /// Sites of linear layers that multiply the reference's inputs by the reference's weights in
    /// the reference's order. That product is the reference's activation, and is not computed
    /// again.
    same: &'r BTreeSet<Site>,
    device: &'r Device,
    /// What each of the other sites gave, before the reference's activation took its place.
    pub(crate) taught: Activations,
}

impl<'r> Teacher<'r> {
    pub(crate) fn new(reference: &'r Activations, same: &'r BTreeSet<Site>, device: &'r Device) -> Self {
        Teacher { reference, same, device, taught: Activations::new() }
    }
}

impl Probe for Teacher<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let keep = |site, activation| {
            self.taught.insert(site, activation);
        };
        Force::new(self.reference, keep).at(site, x)
    }

    fn known(&mut self, site: Site) -> Option<Tensor<3>> {
        let activation = self.reference.get(&site).filter(|_| self.same.contains(&site))?;
        let shape = activation.shape.as_slice().try_into().ok()?;
        Some(bridge::tensor(activation.values.view(), shape, self.device))
    }
}
