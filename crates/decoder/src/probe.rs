//! The probe: what the model calls at every site.

use burn::tensor::Tensor;

use crate::site::Site;

/// Sees every observation point of a forward pass, and may put another tensor in its place.
///
/// Recording, comparing, patching and teacher forcing are all probes. `()` looks at nothing.
///
/// ```
/// use burn::tensor::Tensor;
/// use ulpscope_decoder::{Probe, Site};
///
/// /// Counts the sites that a forward pass visits.
/// struct Count(usize);
///
/// impl Probe for Count {
///     fn at<const D: usize>(&mut self, _site: Site, x: Tensor<D>) -> Tensor<D> {
///         self.0 += 1;
///         x
///     }
/// }
/// ```
pub trait Probe {
    /// Called once at each site, in forward order. The forward pass goes on with what is returned,
    /// which must have the shape, dtype and device of `x`.
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D>;

    /// What a linear layer gives at this site, if that is at hand: the same product of the same
    /// input was computed before. It is not computed then, and [`Probe::at`] is not called.
    fn known(&mut self, _site: Site) -> Option<Tensor<3>> {
        None
    }

    /// Whether the probe has to see this site. Operations around sites that no probe looks at may
    /// be fused, which gives the same bits in less time; [`Probe::at`] is not called at such a site
    /// then.
    fn wants(&self, _site: Site) -> bool {
        true
    }
}

/// What a linear layer gives, computed if it is not known.
pub(crate) fn product(probe: &mut impl Probe, site: Site, multiply: impl FnOnce() -> Tensor<3>) -> Tensor<3> {
    match probe.known(site) {
        Some(product) => product,
        None => probe.at(site, multiply()),
    }
}

impl Probe for () {
    fn at<const D: usize>(&mut self, _site: Site, x: Tensor<D>) -> Tensor<D> {
        x
    }

    fn wants(&self, _site: Site) -> bool {
        false
    }
}
