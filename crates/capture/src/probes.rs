//! Probes: record, patch, force.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use ulpscope_decoder::{Probe, Site, bridge};
use ulpscope_floats::Floats;

/// The activation at one site.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// Shape, token-major: `[1, T, C]`, per-head sites `[1, H, T, …]`.
    pub shape: Vec<usize>,
    /// Values, row-major, in the dtype that the arm holds them in.
    pub values: Floats<'static>,
}

impl Activation {
    /// Copies a tensor to the host, bit for bit.
    pub fn of<const D: usize>(x: &Tensor<D>) -> Self {
        Activation { shape: x.dims().to_vec(), values: bridge::floats(x) }
    }

    /// The activation that a tensor is, without a copy if nothing else holds it.
    pub fn take<const D: usize>(x: Tensor<D>) -> Self {
        Activation { shape: x.dims().to_vec(), values: bridge::into_floats(x) }
    }

    /// Copies a tensor to the host, bit for bit, and gives it back.
    fn copy<const D: usize>(x: Tensor<D>) -> (Self, Tensor<D>) {
        let (shape, device) = (x.dims(), x.device());
        let values = bridge::into_floats(x);
        let activation = Activation { shape: shape.to_vec(), values: values.view().into_owned() };
        (activation, bridge::tensor(values, shape, &device))
    }

    /// The tensor that stands in for `like`: these values, in the dtype and on the device of
    /// `like`. `None` if the shapes differ.
    fn instead_of<const D: usize>(&self, like: &Tensor<D>) -> Option<Tensor<D>> {
        if self.shape != like.dims() {
            return None;
        }
        let dtype = bridge::dtype(like);
        let (shape, device) = (like.dims(), like.device());
        Some(if self.values.dtype() == dtype {
            bridge::tensor(self.values.view(), shape, &device)
        } else {
            bridge::tensor(self.values.cast(dtype), shape, &device)
        })
    }
}

/// Activations by site.
pub type Activations = BTreeMap<Site, Activation>;

/// Keeps the activation of every site that a predicate chooses, and changes nothing.
///
/// Logits with and without a recorder are bit-equal.
pub struct Recorder<F> {
    keep: F,
    /// What was recorded.
    pub activations: Activations,
}

impl<F: FnMut(Site) -> bool> Recorder<F> {
    /// Records the sites for which `keep` answers true.
    pub fn new(keep: F) -> Self {
        Recorder { keep, activations: Activations::new() }
    }
}

impl<F: FnMut(Site) -> bool> Probe for Recorder<F> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        if !(self.keep)(site) {
            return x;
        }
        let (activation, x) = Activation::copy(x);
        self.activations.insert(site, activation);
        x
    }
}

/// Shows every activation to a function, and changes nothing.
pub struct Observer<F>(pub F);

impl<F: FnMut(Site, Activation)> Probe for Observer<F> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let (activation, x) = Activation::copy(x);
        (self.0)(site, activation);
        x
    }
}

/// Teacher forcing: shows what a site produced, then goes on with the reference's activation in its
/// place.
///
/// So every operation works on the reference's inputs, and what it is seen to produce differs from
/// the reference by exactly the divergence that it introduces. A site that the reference does not
/// have, or has in another shape, keeps its own activation.
pub struct Force<'a, F> {
    reference: &'a Activations,
    observe: F,
}

impl<'a, F: FnMut(Site, Activation)> Force<'a, F> {
    /// Forces `reference`; `observe` sees each site's own output before it is replaced.
    pub fn new(reference: &'a Activations, observe: F) -> Self {
        Force { reference, observe }
    }
}

impl<F: FnMut(Site, Activation)> Probe for Force<'_, F> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        if let Some(forced) = self.reference.get(&site).and_then(|a| a.instead_of(&x)) {
            (self.observe)(site, Activation::take(x));
            return forced;
        }
        let (activation, x) = Activation::copy(x);
        (self.observe)(site, activation);
        x
    }
}

/// Activation patching: puts given activations in place of a few sites' own, and leaves the rest
/// alone.
pub struct Patch<'a> {
    activations: &'a Activations,
    /// Sites that were replaced, in forward order.
    pub replaced: Vec<Site>,
    /// Sites whose activation has another shape than the one given, and were left alone.
    pub refused: Vec<Site>,
}

impl<'a> Patch<'a> {
    /// Replaces each site in `activations`.
    pub fn new(activations: &'a Activations) -> Self {
        Patch { activations, replaced: Vec::new(), refused: Vec::new() }
    }
}

impl Probe for Patch<'_> {
    fn at<const D: usize>(&mut self, site: Site, x: Tensor<D>) -> Tensor<D> {
        let Some(given) = self.activations.get(&site) else { return x };
        match given.instead_of(&x) {
            Some(tensor) => {
                self.replaced.push(site);
                tensor
            }
            None => {
                self.refused.push(site);
                x
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use ulpscope_llama::LlamaConfig;

    /// The sites of a model's last norm and of its logits.
    fn sites() -> [Site; 2] {
        let config = serde_json::json!({ "model_type": "llama", "num_hidden_layers": 0 });
        let model = LlamaConfig::from_json(&config).unwrap().architecture();
        ["model.norm", "lm_head"].map(|name| model.site(name).unwrap())
    }

    fn at(probe: &mut impl Probe, site: Site, values: &[f32]) -> Vec<f32> {
        let x: Tensor<1> = bridge::tensor(Floats::from(values), [values.len()], &Device::flex());
        bridge::floats(&probe.at(site, x)).to_f32()
    }

    #[test]
    fn force_shows_the_sites_own_output_and_returns_the_references() {
        let [norm, head] = sites();
        let mut reference = Recorder::new(|_| true);
        at(&mut reference, norm, &[1.0, 2.0]);
        let mut seen = Vec::new();
        let mut force = Force::new(&reference.activations, |site, a| seen.push((site, a.values.to_f32())));
        assert_eq!(at(&mut force, norm, &[3.0, 4.0]), [1.0, 2.0]);
        assert_eq!(at(&mut force, norm, &[5.0]), [5.0], "another shape is left alone");
        assert_eq!(at(&mut force, head, &[6.0]), [6.0], "so is an unknown site");
        assert_eq!(seen, [(norm, vec![3.0, 4.0]), (norm, vec![5.0]), (head, vec![6.0])]);
    }

    #[test]
    fn patch_replaces_only_what_it_was_given() {
        let [norm, head] = sites();
        let mut recorded = Recorder::new(|site| site == norm);
        at(&mut recorded, norm, &[1.0]);
        at(&mut recorded, head, &[2.0]);
        assert_eq!(recorded.activations.len(), 1);
        let mut patch = Patch::new(&recorded.activations);
        assert_eq!(at(&mut patch, norm, &[9.0]), [1.0]);
        assert_eq!(at(&mut patch, head, &[9.0]), [9.0]);
        assert_eq!(at(&mut patch, norm, &[9.0, 9.0]), [9.0, 9.0]);
        assert_eq!((patch.replaced, patch.refused), (vec![norm], vec![norm]));
    }
}
