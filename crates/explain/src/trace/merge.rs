//! Several findings that are one cause: layers and tensors in each other's place, the same in many
//! layers.

use std::collections::BTreeMap;

use ulpscope_decoder::layer_of;
use ulpscope_record::{Finding, Subject};

use super::evidence::{Claim, Evidence};
use super::found::{Found, Shown};
use crate::causes;
use crate::layer_groups::{by_key, class, together};

/// Tensors of a layer that hold another layer's, from which on the layer does.
const MOST: usize = 5;

/// Everything that is one cause as one, of a model with so many layers; what two honest libraries
/// differ by comes last.
pub(super) fn merged(found: Vec<Found>, layers: usize) -> Vec<Found> {
    let mut found = by_key(exchanged(whole_layers(found)), |cause: &Found| {
        let place = class(&cause.claim.key.place);
        (cause.claim.kind.id, place, cause.claim.evidence.in_any_layer(), cause.shown)
    })
    .into_iter()
    .flat_map(|same| if together(same.len(), layers) { vec![joined(same)] } else { same })
    .collect::<Vec<Found>>();
    found.iter_mut().for_each(widen_epsilon);
    found.sort_by_key(|cause| cause.shown == Shown::LastBits);
    found
}

/// Several as one; they are not none.
fn joined(found: Vec<Found>) -> Found {
    let mut all = found.into_iter();
    let mut whole = all.next().expect("there is one");
    whole.claim.evidence = whole.claim.evidence.in_any_layer();
    all.for_each(|cause| whole.take(cause));
    whole
}

/// The layer of a tensor that holds the same tensor of another layer, and that other one.
fn layers_of(found: &Found) -> Option<(usize, usize)> {
    let [name, from] = found.claim.evidence.holds()?;
    let ((layer, place), (other, same)) = (layer_of(name)?, layer_of(from)?);
    (place == same).then_some((layer, other))
}

/// Makes one cause of most tensors of a layer that hold another layer's.
fn whole_layers(found: Vec<Found>) -> Vec<Found> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for pair in found.iter().filter_map(layers_of) {
        *counts.entry(pair).or_default() += 1;
    }
    // Of two layers that one may come from, as where both have norms of ones, the one that gives
    // more of it.
    let mut sources: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for ((layer, from), count) in counts.into_iter().filter(|(_, count)| *count >= MOST) {
        let best = sources.entry(layer).or_insert((from, count));
        if count > best.1 {
            *best = (from, count);
        }
    }
    let moved = |cause: &Found| {
        layers_of(cause).is_some_and(|(layer, from)| sources.get(&layer).is_some_and(|best| best.0 == from))
    };
    let (moved, mut others): (Vec<Found>, Vec<Found>) = found.into_iter().partition(moved);
    if moved.is_empty() {
        return others;
    }
    let from = sources.values().map(|(from, _)| *from).collect::<Vec<usize>>();
    let layers = sources.into_keys().collect::<Vec<usize>>();
    let finding = Finding::new("layers").with("layers", layers).with("from", from);
    others.push(as_one(
        moved,
        Claim::new(
            causes::LAYERS,
            String::new(),
            Subject::Tensors { names: Vec::new() },
            Evidence::Fact(finding),
        ),
    ));
    others.sort_by_key(|cause| cause.sites.first().copied());
    others
}

/// Makes one cause of two tensors that hold each other's content.
fn exchanged(mut found: Vec<Found>) -> Vec<Found> {
    let holds = |cause: &Found| cause.claim.evidence.holds().map(|names| names.map(str::to_owned));
    let mut first = 0;
    while first < found.len() {
        if let Some([name, from]) = holds(&found[first])
            && let Some(second) = found.iter().position(|cause| {
                cause
                    .claim
                    .evidence
                    .holds()
                    .is_some_and(|[other, source]| [other, source] == [&*from, &*name])
            })
        {
            let pair = [found.remove(first.max(second)), found.remove(first.min(second))];
            let finding = Finding::new("hold-each-other").with("tensors", vec![name.clone(), from.clone()]);
            let about = Subject::Tensors { names: vec![name.clone(), from] };
            let claim = Claim::new(causes::EXCHANGED, name, about, Evidence::Fact(finding));
            found.insert(first.min(second), as_one(pair.into(), claim));
        }
        first += 1;
    }
    found
}

/// Several under another claim.
fn as_one(found: Vec<Found>, claim: Claim) -> Found {
    let mut whole = Found::new(claim, Shown::Run);
    for cause in found {
        // What is left of one is left of all.
        whole.shown = if cause.shown == Shown::Run { whole.shown } else { cause.shown };
        whole.take(cause);
    }
    whole
}

/// Of several epsilons that give the same bits, all smaller than ours, none is the one.
fn widen_epsilon(found: &mut Found) {
    let epsilon = |claim: &Claim| match &claim.evidence {
        Evidence::Fact(finding) if finding.rule == "rms-norm-eps" => {
            finding.number("trace").zip(finding.number("ours"))
        }
        _ => None,
    };
    let all: Option<Vec<(f64, f64)>> = [&found.claim].into_iter().chain(&found.ties).map(epsilon).collect();
    let Some(all) = all.filter(|all| all.len() > 1 && all.iter().all(|(trace, ours)| trace < ours)) else {
        return;
    };
    let fits = all.iter().map(|(trace, _)| *trace);
    let (least, most) = (fits.clone().fold(f64::INFINITY, f64::min), fits.fold(0.0, f64::max));
    let finding = Finding::new("rms-norm-eps-smaller").with("least", least).with("most", most);
    found.claim.evidence = Evidence::Fact(finding.with("ours", all[0].1));
    found.ties.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::site;

    fn holds(name: &str, from: &str) -> Found {
        let finding = Finding::new("holds").with("tensor", name).with("from", from);
        let about = Subject::Tensors { names: vec![name.to_owned()] };
        let claim = Claim::new(causes::EXCHANGED, name.to_owned(), about, Evidence::Fact(finding));
        let mut found = Found::new(claim, Shown::Run);
        found.sites.insert(site(name.trim_end_matches(".weight")));
        found
    }

    fn in_layer(layer: usize, place: &str) -> String {
        format!("model.layers.{layer}.{place}.weight")
    }

    #[test]
    fn two_tensors_that_hold_each_other_are_one_cause() {
        let names = ["input_layernorm", "post_attention_layernorm"].map(|place| in_layer(1, place));
        let [x, y] = [&names[0], &names[1]];
        let found = merged(vec![holds(x, y), holds(&in_layer(0, "mlp.up_proj"), x), holds(y, x)], 4);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].claim.about, Subject::Tensors { names: names.to_vec() });
        assert_eq!(found[0].sites.len(), 2);
        assert!(found[0].claim.evidence.is("hold-each-other"));
    }

    #[test]
    fn most_tensors_of_a_layer_are_the_layer() {
        let places = ["q", "k", "v", "o"].map(|p| format!("self_attn.{p}_proj"));
        let places = places.into_iter().chain(["mlp.up_proj".to_owned(), "mlp.down_proj".to_owned()]);
        let swap = |place: String| [0, 1].map(|n| holds(&in_layer(n, &place), &in_layer(1 - n, &place)));
        let found = merged(places.flat_map(swap).collect(), 4);
        assert_eq!((found.len(), found[0].claim.kind.id, found[0].sites.len()), (1, "layers-exchanged", 12));
        let finding = found[0].claim.evidence.finding();
        assert_eq!(
            finding,
            Finding::new("layers").with("layers", vec![0usize, 1]).with("from", vec![1usize, 0])
        );
    }

    #[test]
    fn of_smaller_epsilons_none_is_named() {
        let eps = |trace: f64| {
            let finding = Finding::new("rms-norm-eps").with("trace", trace).with("ours", 1e-5);
            Claim::of_setting(causes::EPS, "rms_norm_eps", finding)
        };
        let widened = |ties: Vec<Claim>| {
            let mut found = Found::new(eps(0.0), Shown::Run);
            found.ties = ties;
            widen_epsilon(&mut found);
            (found.claim.evidence.finding(), found.ties.len())
        };
        let (finding, ties) = widened(vec![eps(1e-8), eps(1e-6)]);
        assert_eq!((finding.number("least"), finding.number("most"), ties), (Some(0.0), Some(1e-6), 0));
        assert_eq!(widened(vec![eps(1e-4)]).1, 1);
        assert_eq!(widened(Vec::new()).0.rule, "rms-norm-eps");
    }
}
