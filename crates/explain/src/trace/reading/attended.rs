//! Which keys a recorded attention saw, read off its own queries, keys, values and outputs.

use ulpscope_capture::{Activation, Trace};
use ulpscope_decoder::{Architecture, Part, Role};

/// One recorded attention, of the first block that has all of it.
pub(super) struct Attended<'t> {
    query: &'t Activation,
    key: &'t Activation,
    value: &'t Activation,
    context: &'t Activation,
    heads: usize,
    groups: usize,
    width: usize,
    tokens: usize,
}

impl<'t> Attended<'t> {
    /// The first block whose attention was recorded for so many tokens.
    pub(super) fn of(trace: &'t Trace, of: &Architecture, tokens: usize) -> Option<Self> {
        (0..of.layers.len()).find_map(|layer| {
            let spec = of.layers[layer].attention;
            let read = |role| {
                let site = of.site_of(Part::Block(layer), of.layers[layer].place(role)?);
                trace.activations.get(&site.to_string()).filter(|x| x.shape == of.shape(site, tokens))
            };
            Some(Attended {
                query: read(Role::Query)?,
                key: read(Role::Key)?,
                value: read(Role::Value)?,
                context: read(Role::Context)?,
                heads: spec.heads,
                groups: spec.groups,
                width: spec.head_dim,
                tokens,
            })
        })
    }

    /// How far the output of a query is from what these keys would give, over its size: all heads
    /// together.
    pub(super) fn apart(&self, query: usize, sees: impl Fn(usize) -> bool) -> f64 {
        let (width, tokens) = (self.width, self.tokens);
        let (mut apart, mut size) = (0.0, 0.0);
        for head in 0..self.heads {
            let group = head * self.groups / self.heads;
            let q = |i: usize| self.query.values.get((head * tokens + query) * width + i);
            let k = |key: usize, i: usize| self.key.values.get((group * tokens + key) * width + i);
            let v = |key: usize, i: usize| self.value.values.get((key * self.groups + group) * width + i);
            let scale = 1.0 / (width as f64).sqrt();
            let seen: Vec<(usize, f64)> = (0..tokens)
                .filter(|key| sees(*key))
                .map(|key| (key, scale * (0..width).map(|i| q(i) * k(key, i)).sum::<f64>()))
                .collect();
            let most = seen.iter().map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = seen.iter().map(|(_, score)| (score - most).exp()).sum();
            for i in 0..width {
                let mixed =
                    seen.iter().map(|(key, score)| (score - most).exp() / sum * v(*key, i)).sum::<f64>();
                let theirs = self.context.values.get((query * self.heads + head) * width + i);
                (apart, size) = (apart + (mixed - theirs).powi(2), size + theirs * theirs);
            }
        }
        if size == 0.0 { f64::INFINITY } else { (apart / size).sqrt() }
    }

    /// Tokens that were recorded.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }
}
