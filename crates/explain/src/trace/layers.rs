//! Layers in each other's place: what is found tensor by tensor is one cause.

use std::collections::BTreeMap;

use ulpscope_llama::layer_of;

use super::hypothesis::Change;
use super::search::Found;
use crate::catalogue;

/// Tensors of a layer that hold another layer's, from which on the layer does.
const MOST: usize = 5;

/// The layers that a cause is about, if it is that a tensor of the one holds the same tensor of the other.
fn held(found: &Found) -> Option<(usize, usize)> {
    let (name, from) = found.key.split_once(" holds ")?;
    let (layer, place) = layer_of(name)?;
    let (other, same) = layer_of(from)?;
    (place == same && matches!(found.changes.first(), Some((_, Change::Parameters(_), _))))
        .then_some((layer, other))
}

/// Makes one cause of those that say the same of most tensors of a layer, and of layers that are exchanged.
pub(super) fn merge(found: &mut Vec<Found>) {
    let mut count: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for pair in found.iter().filter_map(held) {
        *count.entry(pair).or_default() += 1;
    }
    count.retain(|_, tensors| *tensors >= MOST);
    let mut merged: BTreeMap<(usize, usize), Found> = BTreeMap::new();
    for one in std::mem::take(found) {
        let Some(pair) = held(&one).filter(|pair| count.contains_key(pair)) else {
            found.push(one);
            continue;
        };
        let (layer, other) = pair;
        let exchanged = count.contains_key(&(other, layer));
        let place = if exchanged { (layer.min(other), layer.max(other)) } else { pair };
        match merged.get_mut(&place) {
            Some(whole) => {
                whole.sites.extend(one.sites);
                whole.equal.extend(one.equal);
                whole.changes.extend(one.changes);
                whole.evidence += one.evidence;
                whole.ties.clear();
            }
            None => {
                let (subject, relation) = match exchanged {
                    true => {
                        (format!("layers {} and {}", place.0, place.1), "exchanged in the trace".to_owned())
                    }
                    false => (format!("layer {layer}"), format!("the trace's holds layer {other}")),
                };
                merged.insert(
                    place,
                    Found { key: relation.clone(), fault: catalogue::LAYERS, subject, relation, ..one },
                );
            }
        }
    }
    found.extend(merged.into_values());
    found.sort_by_key(|one| one.sites.first().copied());
}
