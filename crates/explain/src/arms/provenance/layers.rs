//! Whole layers under other numbers: swapped, copied, off by one.

use std::collections::BTreeMap;

use ulpscope_decoder::layer_of;
use ulpscope_metrics::Origin;

use crate::evidence::Moved;
use crate::layer_groups::class;

/// Tensors of a layer that must come from one other layer for all of it to be said to.
const ENOUGH: usize = 3;

/// All layers that moved, with the tensors in them; and the origins that have nothing to do with
/// it.
pub(super) fn moved(origins: Vec<Origin>) -> (Option<(Moved, Vec<String>)>, Vec<Origin>) {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for (layer, from, _) in origins.iter().flat_map(moves) {
        *counts.entry((layer, from)).or_default() += 1;
    }
    // Of two layers that a layer may come from, as where both have norms of ones, the one that
    // gives more of it.
    let mut sources: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for ((layer, from), count) in counts.into_iter().filter(|(_, count)| *count >= ENOUGH) {
        let best = sources.entry(layer).or_insert((from, count));
        if count > best.1 {
            *best = (from, count);
        }
    }
    let sources: BTreeMap<usize, usize> =
        sources.into_iter().map(|(layer, (from, _))| (layer, from)).collect();
    let of_layers = |origin: &Origin| {
        let moves = moves(origin);
        !moves.is_empty() && moves.iter().all(|(layer, from, _)| sources.get(layer) == Some(from))
    };
    let (of_layers, others): (Vec<Origin>, Vec<Origin>) = origins.into_iter().partition(of_layers);
    let copied = of_layers.iter().all(|origin| matches!(origin, Origin::Copied { .. }));
    let names: Vec<String> = of_layers.iter().flat_map(moves).map(|(_, _, name)| name.to_owned()).collect();
    let moved = (!names.is_empty())
        .then_some((Moved::Layers { place: None, sources, copied, changed: false }, names));
    (moved, others)
}

/// The same tensor of at least [`ENOUGH`] layers that comes from other layers, with its names; and
/// the other origins.
pub(super) fn places(origins: Vec<Origin>) -> (Vec<(Moved, Vec<String>)>, Vec<Origin>) {
    let mut of: BTreeMap<String, BTreeMap<usize, usize>> = BTreeMap::new();
    let place = |origin: &Origin| moves(origin).first().map(|(_, _, name)| class(name));
    for origin in &origins {
        for (layer, from, name) in moves(origin) {
            of.entry(class(name)).or_default().insert(layer, from);
        }
    }
    of.retain(|_, sources| sources.len() >= ENOUGH);
    let known = |origin: &Origin| place(origin).is_some_and(|place| of.contains_key(&place));
    let (moved, others): (Vec<Origin>, Vec<Origin>) = origins.into_iter().partition(known);
    let one = |(of, sources): (&String, &BTreeMap<usize, usize>)| {
        let here = moved.iter().flat_map(moves).filter(|(_, _, name)| class(name) == *of);
        let names = here.map(|(_, _, name)| name.to_owned()).collect();
        // One layer alone is a copy; of several the order matters.
        let place = Some(of.clone());
        (Moved::Layers { place, sources: sources.clone(), copied: false, changed: false }, names)
    };
    (of.iter().map(one).collect(), others)
}

/// Each tensor whose content comes from the same place of another layer: its layer, the other one,
/// and its name.
fn moves(origin: &Origin) -> Vec<(usize, usize, &str)> {
    let one = |name, from| {
        let ((layer, place), (other, same)) = (layer_of(name)?, layer_of(from)?);
        (place == same).then_some((layer, other, name))
    };
    let pairs: Vec<(&str, &str)> = match origin {
        Origin::Swapped { one, other } => vec![(one, other), (other, one)],
        Origin::Copied { name, of: from } | Origin::Moved { name, from } => vec![(name, from)],
        Origin::Untied { .. } => Vec::new(),
    };
    pairs.into_iter().filter_map(|(name, from)| one(name, from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [&str; 4] =
        ["input_layernorm.weight", "mlp.up_proj.weight", "mlp.down_proj.weight", "q.weight"];

    fn name(layer: usize, place: &str) -> String {
        format!("model.layers.{layer}.{place}")
    }

    fn said(sources: &[(usize, usize)], copied: bool) -> (String, usize, usize) {
        let of = |&(layer, from): &(usize, usize)| {
            PLACES.map(|place| {
                let (name, from) = (name(layer, place), name(from, place));
                if copied { Origin::Copied { name, of: from } } else { Origin::Moved { name, from } }
            })
        };
        let mut origins: Vec<Origin> = sources.iter().flat_map(of).collect();
        // One tensor in the place of another has nothing to do with layers.
        origins.push(Origin::Moved { name: name(7, "k.weight"), from: name(7, "v.weight") });
        let (moved, others) = super::moved(origins);
        let (moved, names) = moved.unwrap();
        (moved.to_string(), names.len(), others.len())
    }

    #[test]
    fn layers_that_moved_are_one_statement() {
        assert_eq!(said(&[(2, 1)], true).0, "b's layer 2 is a copy of layer 1");
        assert_eq!(said(&[(2, 1)], false), ("b's layer 2 is a's layer 1".to_owned(), 4, 1));
        assert_eq!(said(&[(1, 2), (2, 1)], false).0, "layers 1 and 2 are swapped");
        assert_eq!(
            said(&[(0, 1), (1, 2), (2, 3), (3, 0)], false).0,
            "of b's layers 0 to 2 are a's 1 to 3, 3 is a's 0"
        );
        assert_eq!(said(&[(0, 3), (1, 2), (2, 1), (3, 0)], false).0, "of b's layers 0 to 3 are a's 3 to 0");
        assert_eq!(said(&[(0, 3), (1, 3), (2, 3)], true).0, "of b's layers 0 to 2 are a's 3");
    }

    #[test]
    fn two_tensors_are_no_layer() {
        let swap = |place: &str| Origin::Swapped { one: name(0, place), other: name(1, place) };
        let (moved, others) = super::moved(PLACES[..2].iter().map(|place| swap(place)).collect());
        assert_eq!((moved, others.len()), (None, 2));
        let (moved, others) = super::moved(PLACES.iter().map(|place| swap(place)).collect());
        let (moved, names) = moved.unwrap();
        let text = moved.to_string();
        assert_eq!((text.as_str(), names.len(), others.len()), ("layers 0 and 1 are swapped", 8, 0));
    }
}
