//! Other engines' names and shapes of our sites: wrappers, fused projections, tensors without a
//! batch.

use std::collections::{BTreeMap, BTreeSet};

use ulpscope_capture::{Activation, Trace};
use ulpscope_decoder::{Architecture, AttentionKind, Part, Role, Shape, Site};
use ulpscope_floats::Floats;

use super::Note;

/// What wrappers put in front of names.
const WRAPPERS: [&str; 6] =
    ["_orig_mod.", "module.", "base_model.model.", "llm.", "language_model.", "transformer."];
/// What engines call the logits.
const LOGITS: [&str; 6] =
    ["logits", "logprobs", "log_probs", "logits_processor", "output", "prompt_logprobs"];

/// Gives a trace our names and shapes. `None` if it has them already.
pub(super) fn understand(trace: &mut Trace, of: &Architecture) -> Result<Option<Note>, String> {
    let ids = trace.ids().map_or(0, |ids| ids.len());
    let tokens = super::prefix::tokens(trace, of, ids);
    let known: BTreeMap<String, Site> =
        of.sites(AttentionKind::Eager).into_iter().map(|site| (site.to_string(), site)).collect();
    let present: BTreeSet<String> = trace.activations.keys().cloned().collect();
    if present
        .iter()
        .all(|key| known.get(key).is_some_and(|site| trace.activations[key].shape == of.shape(*site, tokens)))
    {
        return Ok(None);
    }
    let [mut renamed, mut split, mut shaped] = [0; 3];
    let mut activations = BTreeMap::new();
    let fused = present.iter().any(|key| key.ends_with("mlp.gate_up_proj"));
    for (key, x) in std::mem::take(&mut trace.activations) {
        let parts = targets(&key, of, &known, fused, &present);
        match &parts[..] {
            [] => _ = activations.insert(key, x),
            [site] => {
                let name = site.to_string();
                if *site == of.logits() && name != key {
                    complete(&x, of, &key)?;
                }
                if name != key && present.contains(&name) {
                    activations.insert(key, x);
                    continue;
                }
                renamed += usize::from(name != key);
                let (x, other) = in_shape(x, of, *site, tokens);
                shaped += usize::from(other);
                activations.insert(name, x);
            }
            several => {
                let widths: Vec<usize> = several.iter().map(|site| width(of, *site)).collect();
                match columns(&x, &widths, tokens) {
                    Some(pieces) => {
                        split += pieces.len();
                        for (site, piece) in several.iter().zip(pieces) {
                            activations.entry(site.to_string()).or_insert(piece);
                        }
                    }
                    None => _ = activations.insert(key, x),
                }
            }
        }
    }
    trace.activations = activations;
    Ok((renamed + split + shaped > 0).then_some(Note::Names { renamed, split, shaped }))
}

/// Logits of a few tokens can't be compared.
fn complete(x: &Activation, of: &Architecture, key: &str) -> Result<(), String> {
    match x.shape.last() {
        Some(&width) if width < of.vocab && width <= 256 => Err(format!(
            "its `{key}` holds {width} tokens a position, of a vocabulary of {}: what is left out can't be compared; \
             record the logits of all tokens",
            of.vocab
        )),
        _ => Ok(()),
    }
}

/// The sites that a tensor of this name holds, in the order of its columns; none if the name says
/// nothing.
fn targets(
    key: &str,
    of: &Architecture,
    known: &BTreeMap<String, Site>,
    fused: bool,
    present: &BTreeSet<String>,
) -> Vec<Site> {
    // Where gate and up are one, the activation's module multiplies, too.
    let held = |name: &str| {
        let site = known.get(name)?;
        let multiplies = fused && name.ends_with("mlp.act_fn");
        let product = if multiplies { known.get(&name.replace("mlp.act_fn", "mlp.product")) } else { None };
        Some(vec![*product.unwrap_or(site)])
    };
    if let Some(found) = held(key) {
        return found;
    }
    let mut name = key.strip_suffix(".output").unwrap_or(key);
    while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
        name = rest;
    }
    if LOGITS.contains(&name) {
        return vec![of.logits()];
    }
    for name in [name.to_owned(), format!("model.{name}")] {
        if let Some(found) = held(&name) {
            return found;
        }
        let found = in_block(&name, of, known);
        // A module's own output, where the projection that makes it was not recorded.
        let whole = name.ends_with(".self_attn") || name.ends_with(".mlp");
        let beside = whole && found.iter().any(|site| present.contains(&site.to_string()));
        if !found.is_empty() && !beside {
            return found;
        }
    }
    Vec::new()
}

/// What stands behind the names that engines have in a block.
fn in_block(name: &str, of: &Architecture, known: &BTreeMap<String, Site>) -> Vec<Site> {
    let Some((layer, inner)) = ulpscope_decoder::layer_of(name) else { return Vec::new() };
    if layer >= of.layers.len() {
        return Vec::new();
    }
    let named = |inner: &str| known.get(&format!("model.layers.{layer}.{inner}")).copied();
    let role = |role| Some(of.site_of(Part::Block(layer), of.layers[layer].place(role)?));
    let all =
        |sites: &[Option<Site>]| sites.iter().copied().collect::<Option<Vec<Site>>>().unwrap_or_default();
    match inner {
        "self_attn.qkv_proj" | "self_attn.qkv" | "attention.wqkv" | "self_attn.W_pack" => {
            all(&[named("self_attn.q_proj"), named("self_attn.k_proj"), role(Role::Value)])
        }
        "mlp.gate_up_proj" | "mlp.gate_up" => all(&[role(Role::Gate), role(Role::Up)]),
        "self_attn.attn" | "self_attn.core_attention" => all(&[role(Role::Context)]),
        "self_attn" => all(&[role(Role::Attended)]),
        "mlp" => all(&[role(Role::Down)]),
        _ => Vec::new(),
    }
}

fn width(of: &Architecture, site: Site) -> usize {
    of.shape(site, 1).iter().product()
}

/// A tensor of rows, cut into columns of these widths.
fn columns(x: &Activation, widths: &[usize], tokens: usize) -> Option<Vec<Activation>> {
    let whole: usize = widths.iter().sum();
    if x.shape.last() != Some(&whole) || x.values.len() != tokens * whole {
        return None;
    }
    let mut start = 0;
    let piece = |&width: &usize| {
        let from = start;
        start += width;
        let value = |i: usize| x.values.get(i / width * whole + from + i % width);
        let values: Vec<f64> = (0..tokens * width).map(value).collect();
        Activation { shape: vec![1, tokens, width], values: Floats::from(values).cast(x.values.dtype()) }
    };
    Some(widths.iter().map(piece).collect())
}

/// A tensor in the shape that its site has here, if it is another view of that; and whether that is
/// another shape.
fn in_shape(x: Activation, of: &Architecture, site: Site, tokens: usize) -> (Activation, bool) {
    let (shape, wanted) = (of.node(site).shape, of.shape(site, tokens));
    if x.shape == wanted || x.values.len() != wanted.iter().product::<usize>() {
        return (x, false);
    }
    let plain = |shape: &[usize]| shape.iter().copied().skip_while(|n| *n == 1).collect::<Vec<usize>>();
    let own = plain(&x.shape);
    let by_token = |heads: usize, width: usize| {
        own == plain(&[tokens, heads * width]) || own == plain(&[tokens, heads, width])
    };
    let exchanged = match shape {
        _ if own == plain(&wanted) => false,
        Shape::Heads(heads, width) if by_token(heads, width) => true,
        Shape::Rows(width) if own.len() == 2 && own == plain(&[tokens, width]) => false,
        // Heads and their elements stand in one row.
        Shape::Rows(width) if own.len() == 3 && own[0] == tokens && own[1] * own[2] == width => false,
        Shape::TokenHeads(heads, width) if by_token(heads, width) => false,
        _ => return (x, false),
    };
    let values = match shape {
        Shape::Heads(heads, width) if exchanged => {
            let from = |i: usize| (i / width % tokens * heads + i / (width * tokens)) * width + i % width;
            let values: Vec<f64> = (0..x.values.len()).map(|i| x.values.get(from(i))).collect();
            Floats::from(values).cast(x.values.dtype())
        }
        _ => x.values,
    };
    (Activation { shape: wanted, values }, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::llama;

    #[test]
    fn fused_and_wrapped_names_are_split_by_the_config() {
        let of = llama();
        let mut trace = Trace::default();
        trace.about.insert("ids".to_owned(), "[1, 2, 3]".to_owned());
        let q = of.site("model.layers.0.self_attn.q_proj").unwrap();
        let k = of.site("model.layers.0.self_attn.k_proj").unwrap();
        let (q, k) = (width(&of, q), width(&of, k));
        let whole = q + 2 * k;
        let values: Vec<f32> = (0..3 * whole).map(|i| i as f32).collect();
        let fused = Activation { shape: vec![3, whole], values: Floats::from(values) };
        trace.activations.insert("layers.0.self_attn.qkv_proj".to_owned(), fused);
        let logits =
            Activation { shape: vec![3, of.vocab], values: Floats::from(vec![0.5f32; 3 * of.vocab]) };
        trace.activations.insert("logits".to_owned(), logits);
        let note = understand(&mut trace, &of).unwrap();
        assert_eq!(note, Some(Note::Names { renamed: 1, split: 3, shaped: 1 }));
        assert_eq!(trace.activations["lm_head"].shape, [1, 3, of.vocab]);
        let v = &trace.activations["model.layers.0.self_attn.v_proj"];
        assert_eq!((v.shape.clone(), v.values.get(0)), (vec![1, 3, k], (q + k) as f64));
        assert_eq!(understand(&mut trace, &of).unwrap(), None);
    }

    #[test]
    fn a_few_likely_tokens_are_refused_with_a_remedy() {
        let of = llama();
        let mut trace = Trace::default();
        trace.about.insert("ids".to_owned(), "[1]".to_owned());
        let few = Activation { shape: vec![1, 1, 3], values: Floats::from(vec![0.0f32; 3]) };
        trace.activations.insert("logprobs".to_owned(), few);
        let error = understand(&mut trace, &of).unwrap_err();
        assert!(error.contains("3 tokens a position") && error.contains("all tokens"), "{error}");
    }
}
