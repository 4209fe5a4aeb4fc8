//! What cancels out: an equivalent rewriting, by itself or beside a fault.
//!
//! A norm's gain folded into the projections that follow it, up times 2 and down by 2, queries and
//! keys in another order with the rotation to match: each factor of such a set changes a model
//! greatly, and all of them nothing. None of them is a fault, though each alone, restored or
//! injected, looks like one. So sets that may be one rewriting are injected together, and what
//! cancels out is no cause of what is left.

use crate::arms::factor::Factor;
use crate::arms::proof::Proof;
use crate::thresholds::{OF_EXACT, OF_ROUNDED};

/// Factors of which every set is tried.
const EVERY: usize = 4;
/// Factors of a part of the model that are tried without each one of them.
const EACH: usize = 6;
/// Sets that are tried in all.
const MOST: usize = 16;
/// Sets of factors, by index, that may cancel out, smaller ones first. A set of all factors is
/// none: nothing would be left to explain.
pub(crate) fn candidates(factors: &[Factor]) -> Vec<Vec<usize>> {
    let faults: Vec<usize> = (0..factors.len()).filter(|&i| factors[i].cause.is_defect()).collect();
    let mut sets = if faults.len() <= EVERY {
        let subset =
            |bits: usize| (0..faults.len()).filter(|i| bits >> i & 1 == 1).map(|i| faults[i]).collect();
        (0..1 << faults.len()).map(subset).collect()
    } else {
        let mut sets = parts(factors, &faults);
        sets.push(faults);
        let without: Vec<Vec<usize>> =
            sets.iter().filter(|set| set.len() <= EACH).flat_map(|set| without_each(set)).collect();
        sets.extend(without);
        sets
    };
    sets.retain(|set| set.len() > 1 && set.len() < factors.len());
    sets.sort_by(|x, y| x.len().cmp(&y.len()).then(x.cmp(y)));
    sets.dedup();
    sets.truncate(MOST);
    sets
}

/// Each set without one of its members.
fn without_each(set: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    set.iter().map(move |left_out| set.iter().copied().filter(|i| i != left_out).collect())
}

/// Factors whose tensors lie in the same attention or MLP of a layer, its norm included, or all
/// outside of the layers.
fn parts(factors: &[Factor], of: &[usize]) -> Vec<Vec<usize>> {
    let mut parts: Vec<(Vec<usize>, Vec<_>)> = Vec::new();
    for &i in of {
        let own = factors[i].places.clone();
        // All parts that this factor has a tensor in are one.
        let (near, mut rest): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|(_, theirs)| own.iter().any(|place| theirs.contains(place)));
        let mut merged = (Vec::new(), own);
        for (members, theirs) in near {
            merged.0.extend(members);
            merged.1.extend(theirs);
        }
        merged.0.push(i);
        rest.push(merged);
        parts = rest;
    }
    parts.into_iter().map(|(members, _)| members).collect()
}

/// What may be left of a set in the wide format, as a share of what its parts do alone: the
/// rounding of that format, or of the 16 bits that some of it was rounded to. More is no rewriting,
/// or one with a fault in it.
fn allowed(all: &[Factor], set: &[usize]) -> f64 {
    if set.iter().any(|&i| all[i].rounded) { OF_ROUNDED } else { OF_EXACT }
}

/// The sets of `tried`, each with its KL, that cancel out and have no member in common, with the
/// least that any part does alone; `alone` is what a factor does by itself, and `None` of one that
/// does nothing.
fn cancelled(
    tried: Vec<(Vec<usize>, f64)>,
    alone: impl Fn(usize) -> Option<f64>,
    allowed: impl Fn(&[usize]) -> f64,
) -> Vec<(Vec<usize>, f64, f64)> {
    let mut found: Vec<(Vec<usize>, f64, f64)> = Vec::new();
    for (set, kl) in tried {
        let least = set.iter().try_fold(f64::INFINITY, |least, &i| Some(alone(i)?.min(least)));
        let free = !found.iter().any(|(taken, ..)| taken.iter().any(|i| set.contains(i)));
        if let Some(least) = least.filter(|least| free && kl <= allowed(&set) * least) {
            found.push((set, kl, least));
        }
    }
    found
}

/// A set of factors that cancel out, beside others that do not.
#[derive(Debug)]
pub(crate) struct Rewriting {
    /// Indices of the factors.
    pub(crate) members: Vec<usize>,
    /// KL in the wide format of all of them together, and of the one that does least alone.
    pub(crate) kl: f64,
    pub(crate) parts: f64,
}

/// The factors among those that change a logit which cancel out with each other, or each in itself.
/// None where that is all of them.
pub(crate) fn rewritings(all: &[Factor], acting: &[usize], proof: &Proof) -> Vec<Rewriting> {
    // Beside a cause it is said without reserve, so that a part which follows no rule must leave
    // nothing at all.
    let allowed = |set: &[usize]| match set.iter().all(|&i| all[i].ruled) {
        true => allowed(all, set),
        false => OF_EXACT,
    };
    // Both halves may be one factor, whose parts then do what they do not do together.
    let itself = acting.iter().filter_map(|&i| {
        let (kl, parts) = (proof.intrinsic(i).0, proof.most_of_parts(i));
        (parts > 0.0 && kl <= allowed(&[i]) * parts).then(|| (vec![i], kl, parts))
    });
    let mut sets: Vec<(Vec<usize>, f64, f64)> = itself.collect();
    let alone = |i: usize| {
        let free = acting.contains(&i) && !sets.iter().any(|(set, ..)| set.contains(&i));
        free.then(|| proof.intrinsic(i).0)
    };
    let together = cancelled(proof.sets(), alone, allowed);
    sets.extend(together);
    let found: Vec<Rewriting> =
        sets.into_iter().map(|(members, kl, parts)| Rewriting { members, kl, parts }).collect();
    let left = acting.iter().any(|i| !found.iter().any(|rewriting| rewriting.members.contains(i)));
    if left { found } else { Vec::new() }
}

/// Differences that cancel out before the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Equivalent {
    /// Tensors that differ.
    pub(crate) tensors: usize,
    /// Whether every logit has the reference's bits.
    pub(crate) same_logits: bool,
    /// KL in the wide format of the one, or the set of them, that does most alone; 0 if none was
    /// tried.
    pub(crate) most: f64,
    /// KL in the wide format of all together.
    pub(crate) whole: f64,
    /// Whether each tensor follows a rule that was verified, or nothing is left but the rounding of
    /// the wide format.
    pub(crate) ruled: bool,
}

/// Whether all that differs cancels out, as a rescaling, a permutation or a folding between
/// neighbouring tensors does.
///
/// Either no bit of any logit differs; or what differs does, exchanged one by one or in parts, so
/// much that what all of it does together is rounding beside it. Above the noise `exceeds` it may
/// be only where it was rounded to 16 bits.
pub(crate) fn equivalent(
    all: &[Factor],
    acting: &[usize],
    proof: &Proof,
    (same_logits, exceeds): (bool, bool),
    of_sets: f64,
) -> Option<Equivalent> {
    let alone = acting.iter().map(|&i| {
        let whole = if acting.len() > 1 { proof.intrinsic(i).0 } else { 0.0 };
        proof.most_of_parts(i).max(whole)
    });
    let most = alone.fold(0.0, f64::max).max(of_sets);
    let whole = proof.whole();
    let allowed = allowed(all, acting);
    // What does nothing by itself without rounding in between is a choice of where to round, and
    // cancels nothing.
    let cancels = most > 0.0 && whole <= allowed * most && (!exceeds || allowed == OF_ROUNDED);
    let tensors = all.iter().map(|factor| factor.take.parameters.len()).sum();
    let ruled = acting.iter().all(|&i| all[i].ruled || whole <= OF_EXACT * most);
    (same_logits || cancels).then_some(Equivalent { tensors, same_logits, most, whole, ruled })
}

#[cfg(test)]
mod tests {
    use ulpscope_record::Subject;

    use super::*;
    use crate::causes;
    use crate::evidence::Evidence;
    use crate::testing::llama;

    fn factor(names: &[&str]) -> Factor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let about = Subject::Tensors { names: names.clone() };
        let mut factor = Factor::new(about, causes::SCALED, Evidence::Buffer(None));
        factor.take.parameters = names.iter().cloned().collect();
        let place = |name: &String| llama().kind(name).map(|kind| (kind.layer, kind.branch));
        factor.places = names.iter().filter_map(place).collect();
        factor
    }

    #[test]
    fn every_set_of_a_few_is_tried_but_all() {
        let three: Vec<Factor> = ["a", "b", "c"].iter().map(|name| factor(&[name])).collect();
        assert_eq!(candidates(&three), [[0, 1], [0, 2], [1, 2]]);
        assert!(candidates(&three[..2]).is_empty());
        // Beside a choice two faults may be all that cancels.
        let about = Subject::Arithmetic { class: "accumulation".to_owned() };
        let choice = Factor::new(about, causes::ORDER, Evidence::Buffer(None));
        assert_eq!(candidates(&[three[0].clone(), choice, three[1].clone()]), [[0, 2]]);
    }

    #[test]
    fn of_many_the_neighbours_are_tried() {
        let [norm, up, gate] = ["post_attention_layernorm", "mlp.up_proj", "mlp.gate_proj"]
            .map(|place| factor(&[&format!("model.layers.1.{place}.weight")]));
        let both =
            factor(&["model.layers.3.self_attn.q_proj.weight", "model.layers.4.self_attn.q_proj.weight"]);
        let value = factor(&["model.layers.4.self_attn.v_proj.weight"]);
        let [last, head] = ["model.norm.weight", "lm_head.weight"].map(|name| factor(&[name]));
        let sets = candidates(&[norm, up, gate, both, value, last, head]);
        for set in [vec![0, 1], vec![0, 2], vec![1, 2], vec![3, 4], vec![5, 6], vec![0, 1, 2]] {
            assert!(sets.contains(&set), "{set:?} of {sets:?}");
        }
        assert_eq!(sets.len(), 6);
    }

    #[test]
    fn what_hides_another_does_not_cancel_it() {
        let alone = |i: usize| [Some(1.0), Some(0.5), Some(1e-4), None].get(i).copied().flatten();
        let tried = [(vec![0, 2], 1e-4), (vec![1, 3], 0.0), (vec![0, 1], 1e-9), (vec![0, 1, 2], 1e-8)];
        assert_eq!(cancelled(tried.to_vec(), alone, |_| 1e-3), [(vec![0, 1], 1e-9, 0.5)]);
        assert!(cancelled(vec![(vec![0, 1], f64::NAN)], alone, |_| 1e-3).is_empty());
    }
}
