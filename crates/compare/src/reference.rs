//! What another program recorded of one prompt.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::{Activation, Activations};
use ulpscope_decoder::{Accumulation, Architecture, Site};
use ulpscope_floats::Floats;

/// What was recorded of one prompt.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The prompt.
    pub ids: Vec<u32>,
    /// What the recording has, by site, each of its site's shape.
    pub activations: Activations,
    /// Of those, the sites that can be judged: the recording has what they read, too.
    pub judged: BTreeSet<Site>,
    /// Sites that it lacks and that other parts begin with: ours stand in for them, and are not
    /// judged.
    pub filled: BTreeSet<Site>,
    /// Tokens in front that were not recorded, and are not judged: of a cached prefix.
    pub before: usize,
    /// Whether its logits are log-probabilities.
    pub log_probabilities: bool,
    /// Tokens that it sums in another order than the arm, as programs do that read them alone.
    pub rows: BTreeMap<usize, Accumulation>,
}

impl Reference {
    /// The tokens of a site at which other values have other bits than the recording, of those that
    /// are judged. None if it has no such values.
    pub fn differing_rows(&self, of: &Architecture, site: Site, other: &Activation) -> Vec<usize> {
        let tokens = self.ids.len();
        let Some(own) = self.activations.get(&site).filter(|own| own.shape == other.shape) else {
            return Vec::new();
        };
        let [blocks, elements] = of.node(site).shape.blocks(tokens);
        if own.values.dtype() != other.values.dtype() || own.values.len() != blocks * tokens * elements {
            return (self.before..tokens).collect();
        }
        let width = elements * own.values.dtype().size();
        let [own, other] = [own, other].map(|x| x.values.bytes());
        let differs = |token: &usize| {
            let rows = (0..blocks).map(|block| (block * tokens + token) * width);
            rows.into_iter().any(|start| own[start..start + width] != other[start..start + width])
        };
        (self.before..tokens).filter(differs).collect()
    }

    /// The rows of an activation that are judged: those behind the prefix.
    pub fn behind<'x>(&self, x: &'x Activation) -> Cow<'x, Activation> {
        let tokens = self.ids.len();
        // Tokens are counted along the last dimension but one, heads before it; rows of heads along
        // the second.
        let axis = match x.shape[..] {
            _ if self.before == 0 => return Cow::Borrowed(x),
            [1, t, ..] if t == tokens && x.shape.len() == 3 => 1,
            [1, _, t, _] if t == tokens => 2,
            [1, t, _, _] if t == tokens => 1,
            _ => return Cow::Borrowed(x),
        };
        let inner: usize = x.shape[axis + 1..].iter().product();
        let outer: usize = x.shape[..axis].iter().product();
        let kept = tokens - self.before;
        let mut values = Vec::with_capacity(outer * kept * inner);
        for block in 0..outer {
            let start = (block * tokens + self.before) * inner;
            values.extend((start..start + kept * inner).map(|i| x.values.get(i)));
        }
        let mut shape = x.shape.clone();
        shape[axis] = kept;
        Cow::Owned(Activation { shape, values: Floats::from(values).cast(x.values.dtype()) })
    }
}
