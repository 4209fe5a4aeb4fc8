//! The probe: what the model calls at every site.

use burn::tensor::Tensor;

use crate::site::Site;

/// Sees every observation point of a forward pass, and may put another tensor in its place.
///
/// Recording, comparing, patching and teacher forcing are all probes. `()` looks at nothing.
///
/// ```
/// use burn::tensor::Tensor;
/// use ulpscope_llama::{Probe, Site};
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
    /// Called once at each site, in forward order. The forward pass goes on with what is returned, which must
    /// have the shape, dtype and device of `x`.
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D>;

    /// Whether the probe has to see this site. Operations around sites that nobody looks at may be fused, which gives
    /// the same bits in less time; [`Probe::at`] is not called at such a site then.
    fn wants(&self, _site: Site) -> bool {
        true
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
