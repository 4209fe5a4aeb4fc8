//! Which of many differing tensors matter, found by halving.
//!
//! Where more tensors differ than can be examined one by one, sets of them are put into the
//! reference, and the set that changes most is halved, and halved again. What is left are tensors
//! that matter by themselves, sets that matter only together, and a rest that does not matter.
//! Whether the tensors that were found are enough, and whether the rest is nothing without them, is
//! tried at the end.

use ulpscope_compare::{CompareError, Experiment, Made, Mix, Plan, Step, Subject, Take, Watch, observe};
use ulpscope_floats::DType;
use ulpscope_record::Bisection;

use crate::statistics::mean_or_zero;
use crate::thresholds::MATTERS;

/// Parts that are examined one by one; only more than these are halved.
pub(crate) const FEW: usize = 24;
/// Sets that are halved in one pass over the checkpoint.
const AT_ONCE: usize = 4;
/// Sets that are tried in all.
const MOST_RUNS: usize = 96;
/// Sets that matter at the same time before it is said that the difference is spread over all.
const SPREAD: usize = 16;
/// Tokens of each prompt, and prompts, that sets are tried on.
const TOKENS: usize = 32;
const PROMPTS: usize = 4;

/// What halving came to.
pub(crate) struct Found {
    /// What a record holds of it; in it, the tensors that matter, by themselves or a few together.
    pub(crate) record: Bisection,
    /// KL of the set that does most alone; NaN if any does what is no number.
    pub(crate) most: f64,
}

/// Finds the parts that matter among `parts`, each a set of tensors that goes together.
///
/// # Errors
/// [`CompareError`] if a checkpoint can't be read.
pub(crate) fn bisect(
    plan: &Plan,
    parts: &[Vec<String>],
    wide: DType,
    mut progress: impl FnMut(Step),
) -> Result<Found, CompareError> {
    let all: Vec<usize> = (0..parts.len()).collect();
    let mut passes = 0;
    let mut most: f64 = 0.0;
    let try_sets = |sets: &[Vec<usize>]| -> Result<Vec<f64>, CompareError> {
        passes += 1;
        let takes: Vec<Take> = sets.iter().map(|set| take(parts, set)).collect();
        let done = injected(plan, &takes, wide, &mut progress)?;
        most = done
            .iter()
            .fold(most, |most, &kl| if most.is_nan() || kl.is_nan() { f64::NAN } else { most.max(kl) });
        Ok(done)
    };
    let Halved { named, whole, runs, spread, enough, rest } = halve(all, try_sets)?;
    let names = |set: &Vec<usize>| set.iter().flat_map(|&i| parts[i].iter().cloned()).collect::<Vec<_>>();
    let record = Bisection {
        tensors: parts.iter().map(Vec::len).sum(),
        runs,
        passes,
        prompts: plan.prompts.len().min(PROMPTS),
        tokens: plan.prompts.iter().take(PROMPTS).map(|ids| ids.len().min(TOKENS)).max().unwrap_or(0),
        compute: wide.to_string(),
        kl: whole,
        named: named.iter().map(names).collect(),
        named_kl: enough,
        rest_kl: rest,
        spread,
    };
    Ok(Found { record, most })
}

fn take(parts: &[Vec<String>], set: &[usize]) -> Take {
    let parameters = set.iter().flat_map(|&i| parts[i].iter().cloned()).collect();
    Take { parameters, ..Take::default() }
}

/// Mean KL of the reference to itself with each of these taken from the arm, in the wide format.
fn injected(
    plan: &Plan,
    takes: &[Take],
    wide: DType,
    progress: impl FnMut(Step),
) -> Result<Vec<f64>, CompareError> {
    let Experiment { mut subjects, sites, device, .. } = plan.experiment();
    let semantics = plan.arms[0].semantics.clone();
    for subject in &mut subjects {
        // They run only because mixtures are made of them.
        (subject.watch, subject.against) = (Watch::Logits, Vec::new());
    }
    let reference = subjects.len();
    let mut add = |take: &Take, against: Vec<usize>| {
        subjects.push(Subject {
            name: format!("set {}", subjects.len()),
            made: Made::Mix(Mix { base: 0, donor: 1, take: take.clone() }),
            compute: Some(wide),
            semantics: semantics.clone(),
            against,
            watch: Watch::Logits,
        });
    };
    add(&Take::default(), Vec::new());
    takes.iter().for_each(|take| add(take, vec![reference]));
    let shortened = |ids: &Vec<u32>| ids[..ids.len().min(TOKENS)].to_vec();
    let experiment = Experiment {
        subjects,
        prompts: plan.prompts.iter().take(PROMPTS).map(shortened).collect(),
        sites,
        device,
        describe: false,
        longest_watched: 0,
        keep: false,
    };
    let observed = observe(&experiment, progress)?;
    let of = |subject: usize| {
        let kl: Vec<f64> = (observed.logits.iter().filter(|l| l.subject == subject))
            .flat_map(|l| l.logits.by_position.iter().map(|p| p.kl))
            .collect();
        mean_or_zero(&kl)
    };
    Ok((0..takes.len()).map(|i| of(reference + 1 + i)).collect())
}

struct Halved {
    named: Vec<Vec<usize>>,
    /// KL of everything together, of what was named alone, and of everything else.
    whole: f64,
    enough: f64,
    rest: f64,
    runs: usize,
    spread: bool,
}

/// A set and what it does.
struct Node {
    set: Vec<usize>,
    kl: f64,
}

/// Halves sets, the one that does most first; `try_sets` says what each of some sets does alone.
fn halve<E>(
    all: Vec<usize>,
    mut try_sets: impl FnMut(&[Vec<usize>]) -> Result<Vec<f64>, E>,
) -> Result<Halved, E> {
    // What is not a number does more than any number.
    let size = |kl: f64| if kl.is_nan() { f64::INFINITY } else { kl };
    let whole = try_sets(std::slice::from_ref(&all))?.first().copied().unwrap_or(0.0);
    let least = if size(whole).is_finite() { whole * MATTERS } else { f64::MAX };
    let mut runs = 1;
    // Where all of them together do nothing, there is nothing to halve.
    let mut active: Vec<Node> =
        (whole != 0.0).then(|| Node { set: all.clone(), kl: whole }).into_iter().collect();
    let mut named: Vec<Vec<usize>> = Vec::new();
    let mut spread = false;
    loop {
        active.sort_by(|x, y| size(y.kl).total_cmp(&size(x.kl)));
        let (single, more): (Vec<Node>, Vec<Node>) = active.into_iter().partition(|n| n.set.len() == 1);
        named.extend(single.into_iter().map(|n| n.set));
        active = more;
        if active.is_empty() {
            break;
        }
        if active.len() + named.len() > SPREAD || runs + 2 > MOST_RUNS {
            spread = true;
            break;
        }
        let later = active.split_off(active.len().min(AT_ONCE).min((MOST_RUNS - runs) / 2));
        let halves: Vec<Vec<usize>> = (active.iter())
            .flat_map(|n| [n.set[..n.set.len() / 2].to_vec(), n.set[n.set.len() / 2..].to_vec()])
            .collect();
        let sizes = try_sets(&halves)?;
        runs += halves.len();
        let mut next = later;
        for (parent, (sets, kls)) in active.into_iter().zip(halves.chunks(2).zip(sizes.chunks(2))) {
            let children = sets.iter().zip(kls).filter(|(_, kl)| size(**kl) >= least);
            let before = next.len();
            next.extend(children.map(|(set, &kl)| Node { set: set.clone(), kl }));
            if next.len() == before {
                // Neither half does what both do.
                named.push(parent.set);
            }
        }
        active = next;
    }
    let (mut enough, mut rest) = (f64::NAN, f64::NAN);
    if spread {
        named = Vec::new();
    } else if !named.is_empty() {
        named.sort();
        let found = named.concat();
        let others = all.into_iter().filter(|i| !found.contains(i)).collect();
        let both = try_sets(&[found, others])?;
        runs += 2;
        (enough, rest) = (both[0], both[1]);
    }
    Ok(Halved { named, whole, enough, rest, runs, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Halves 200 parts of which each does what `does` says of a set.
    fn found(does: impl Fn(&[usize]) -> f64) -> Halved {
        let try_sets = |sets: &[Vec<usize>]| Ok::<_, ()>(sets.iter().map(|set| does(set)).collect());
        halve((0..200).collect(), try_sets).unwrap()
    }

    #[test]
    fn the_few_that_matter_are_named() {
        let does = |set: &[usize]| -> f64 {
            set.iter()
                .map(|i| match i {
                    17 => 1.0,
                    144 => 0.01,
                    _ => 1e-7,
                })
                .sum()
        };
        let two = found(does);
        assert_eq!((two.named, two.spread), (vec![vec![17], vec![144]], false));
        assert!(two.runs <= 40 && two.enough > 1.0 && two.rest < 1e-4, "{} runs", two.runs);
        // Neighbours that meet at the last halving are named one by one.
        let pair = found(|set| set.iter().filter(|i| [60, 61].contains(i)).count() as f64);
        assert_eq!(pair.named, [[60], [61]]);
    }

    #[test]
    fn what_matters_only_together_is_named_together() {
        let both = found(|set| if set.contains(&3) && set.contains(&190) { 1.0 } else { 0.0 });
        assert_eq!(both.named.len(), 1);
        assert!(both.named[0].contains(&3) && both.named[0].contains(&190));
    }

    #[test]
    fn what_is_spread_is_not_hunted_down() {
        let even = found(|set| set.len() as f64);
        assert!(even.spread && even.named.is_empty() && even.runs <= MOST_RUNS);
        let none = found(|_| 0.0);
        assert_eq!((none.named.len(), none.runs, none.spread), (0, 1, false));
    }

    #[test]
    fn what_is_not_a_number_comes_first() {
        let broken = found(|set| if set.contains(&99) { f64::NAN } else { set.len() as f64 });
        assert_eq!((broken.named, broken.rest), (vec![vec![99]], 199.0));
    }
}
