//! Teacher forcing that keeps what each site produced.

use burn::tensor::Tensor;
use ulpscope_capture::{Activations, Force};
use ulpscope_llama::{Probe, Site};

/// The probe: every operation works on the reference's inputs, and what it makes of them is kept.
pub(crate) struct Teacher<'r> {
    reference: &'r Activations,
    /// What each site gave, before the reference's activation took its place.
    pub(crate) taught: Activations,
}

impl<'r> Teacher<'r> {
    pub(crate) fn new(reference: &'r Activations) -> Self {
        Teacher { reference, taught: Activations::new() }
    }
}

impl Probe for Teacher<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let keep = |site, activation| {
            self.taught.insert(site, activation);
        };
        Force::new(self.reference, keep).at(site, x)
    }
}
