//! Heads of keys and values, and which of them queries read.

use ulpscope_record::Finding;

use super::{At, Case, Role};

/// The key and value head that a query head reads.
pub(super) fn own_head(at: &At) -> impl Fn(usize) -> usize + use<> {
    let (heads, groups) = (at.spec.heads, at.spec.groups);
    move |h| h * groups / heads
}

/// `[tokens, groups · width]` of values as `[groups, tokens, width]`.
pub(super) fn values(at: &At, case: &Case) -> Option<Vec<f64>> {
    Some(by_head(at, case, &at.read(case, Role::Value)?))
}

/// `[tokens, groups · width]` as `[groups, tokens, width]`.
pub(super) fn by_head(at: &At, case: &Case, v: &[f64]) -> Vec<f64> {
    let shape = [at.spec.groups, case.tokens, at.spec.head_dim];
    (0..v.len()).map(|i| v[exchanged(i, shape)]).collect()
}

/// Where element `i` of a tensor of this shape is when its first two axes are exchanged.
pub(super) fn exchanged(i: usize, [n, m, width]: [usize; 3]) -> usize {
    (i / width % m * n + i / (width * m)) * width + i % width
}

/// The layers whose keys or values one may read in place of its own: the one before, the one
/// behind, the first.
pub(super) fn other_layers(at: &At) -> Vec<usize> {
    let Some(own) = at.site.layer() else { return Vec::new() };
    let others = [own.checked_sub(1), Some(own + 1), Some(0)].into_iter().flatten();
    others.filter(|layer| *layer != own).collect()
}

/// For each query head the nearest of so many key or value heads, by how far it is from each.
pub(super) fn nearest(apart: &[f64], groups: usize) -> Vec<usize> {
    let best = |apart: &[f64]| (0..groups).min_by(|&x, &y| apart[x].total_cmp(&apart[y])).unwrap_or(0);
    apart.chunks(groups).map(best).collect()
}

/// The head that each query head reads.
pub(super) fn heads_read(heads: &[usize]) -> Finding {
    Finding::new("heads-read").with("heads", heads.to_vec())
}

/// What is read of another layer.
pub(super) fn of_layer(what: &str, layer: usize) -> Finding {
    Finding::new("of-layer").with("what", what).with("layer", layer)
}
