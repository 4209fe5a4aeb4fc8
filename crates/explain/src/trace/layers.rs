//! Layers in each other's place: what is found tensor by tensor is one cause.

use std::collections::BTreeSet;

use ulpscope_decoder::layer_of;
use ulpscope_metrics::Origin;

use super::hypothesis::Change;
use super::search::Found;
use crate::arms::provenance as elsewhere;
use crate::causes;
use crate::layer_groups::{by_key, class, ranges, together};

/// Tensors of a layer that hold another layer's, from which on the layer does.
const MOST: usize = 5;

/// The layers that a cause is about, if it is that a tensor of the one holds the same tensor of the other; and that as such.
fn held(found: &Found) -> Option<([usize; 2], Origin)> {
    let (name, from) = found.key.split_once(" holds ")?;
    let ((layer, place), (other, same)) = (layer_of(name)?, layer_of(from)?);
    let moved = Origin::Moved { name: name.to_owned(), from: from.to_owned() };
    let holds = place == same && matches!(found.changes.first(), Some((_, Change::Parameters(_), _)));
    holds.then_some(([layer, other], moved))
}

/// Makes one cause of those that say the same of the same tensor in many layers, of so many.
pub(super) fn alike(found: Vec<Found>, layers: usize) -> Vec<Found> {
    let key = |one: &Found| (one.fault.id, class(&one.subject), class(&one.relation), one.shown);
    let merge = |same: Vec<Found>| {
        if !together(same.len(), layers) {
            return same;
        }
        let mut all = same.into_iter();
        let first = all.next().expect("they are several");
        let mut whole = Found { subject: class(&first.subject), relation: class(&first.relation), ..first };
        all.for_each(|one| whole.take(one));
        vec![whole]
    };
    by_key(found, key).into_iter().flat_map(merge).collect()
}

/// Makes one cause of those that say the same of most tensors of a layer.
pub(super) fn merge(found: &mut Vec<Found>) {
    let all: Vec<([usize; 2], Origin)> = found.iter().filter_map(held).collect();
    let most = |pair: &[usize; 2]| all.iter().filter(|(other, _)| other == pair).count() >= MOST;
    let origins = all.iter().filter(|(pair, _)| most(pair)).map(|(_, origin)| origin.clone());
    let Some((said, names)) = elsewhere::layers_moved(origins.collect()) else { return };
    let is_one =
        |one: &Found| one.key.split_once(" holds ").is_some_and(|(name, _)| names.iter().any(|n| n == name));
    let (mut moved, others): (Vec<Found>, Vec<Found>) = std::mem::take(found).into_iter().partition(is_one);
    *found = others;
    let layers: BTreeSet<usize> = names.iter().filter_map(|name| Some(layer_of(name)?.0)).collect();
    let subject = match Vec::from_iter(&layers)[..] {
        [one, other] => format!("layers {one} and {other}"),
        [one] => format!("layer {one}"),
        _ => format!("layers {}", ranges(layers)),
    };
    let relation = format!("of ours (a) and the trace's (b): {said}");
    let first = moved.remove(0);
    let mut whole = Found { key: relation.clone(), fault: causes::LAYERS, subject, relation, ..first };
    whole.ties.clear();
    moved.into_iter().for_each(|one| whole.take(one));
    found.push(whole);
    found.sort_by_key(|one| one.sites.first().copied());
}
