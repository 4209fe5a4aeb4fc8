//! Observing prompts in groups, and keeping what was observed of each: a run that is interrupted
//! goes on from there.
//!
//! Prompts are carried through the network together, so that nothing of them is finished before all
//! are. Cut into groups, each group is finished for itself, at the price of reading the model once
//! more for each.

use std::collections::BTreeMap;
use std::ops::Range;

use ulpscope_record::unit::{Pair, Unit};

use crate::CompareError;
use crate::heads::Compared;
use crate::lockstep::{Observed, Step, observe, read};
use crate::subject::{Experiment, Made};

/// A place for what was observed.
///
/// The key that a unit is filed under states everything that determines it as far as the libraries
/// know it: files of the checkpoints, recipes, semantics, prompts, sites. Which program observed
/// it, and on which device, is for the implementor to add.
pub trait Keep {
    /// Tokens that make a group; prompts are not cut. One group of all prompts, unless an
    /// implementor says otherwise.
    fn group(&self) -> usize {
        usize::MAX
    }

    /// What was kept under this key.
    fn recall(&mut self, key: &str) -> Option<Unit>;

    /// Keeps what was observed, since the last call of `recall`, of so many tokens.
    fn keep(&mut self, key: &str, unit: &Unit, tokens: usize);
}

/// Nothing is kept, and all prompts are one group.
impl Keep for () {
    fn recall(&mut self, _key: &str) -> Option<Unit> {
        None
    }

    fn keep(&mut self, _key: &str, _unit: &Unit, _tokens: usize) {}
}

/// As [`observe`], group by group. What was observed does not depend on the groups.
///
/// # Errors
/// As [`observe`].
pub fn observe_keeping(
    experiment: &Experiment,
    keep: &mut dyn Keep,
    mut progress: impl FnMut(Step),
) -> Result<Observed, CompareError> {
    experiment.check()?;
    let groups = groups(&experiment.prompts, keep.group());
    let mut whole: Option<Observed> = None;
    let mut units: Vec<(Range<usize>, Unit)> = Vec::with_capacity(groups.len());
    let count = groups.len();
    for (index, group) in groups.into_iter().enumerate() {
        let key = key(experiment, &experiment.prompts[group.clone()]);
        if let Some(unit) = keep.recall(&key) {
            units.push((group, unit));
            continue;
        }
        let part = Experiment {
            prompts: experiment.prompts[group.clone()].to_vec(),
            // How the parameters compare is asked once.
            describe: experiment.describe && whole.is_none(),
            keep: experiment.keep && whole.is_none(),
            ..experiment.clone()
        };
        let mut observed = observe(&part, |Step { done, total }| {
            progress(Step { done: index * total + done, total: count * total });
        })?;
        let unit = unit(&mut observed);
        keep.keep(&key, &unit, part.prompts.iter().map(Vec::len).sum());
        units.push((group, unit));
        whole.get_or_insert(observed);
    }
    let mut whole = match whole {
        Some(observed) => observed,
        // Every group was kept. What is not kept is how the parameters compare, for which no prompt
        // has to run.
        None if experiment.describe => read(experiment, |_| ())?,
        None => Observed::default(),
    };
    for (group, unit) in units {
        add(experiment, &mut whole, group.start, unit);
    }
    if count > 1 {
        let place: BTreeMap<&str, usize> =
            experiment.subjects.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
        whole.sites.sort_by_key(|s| (place.get(s.arm.as_str()).copied(), s.prompt));
    }
    Ok(whole)
}

/// Takes out of what was observed what depends on the prompts.
fn unit(observed: &mut Observed) -> Unit {
    let pair = |Compared { subject, with, logits }| Pair { subject, with, logits };
    Unit {
        sites: std::mem::take(&mut observed.sites),
        logits: std::mem::take(&mut observed.logits).into_iter().map(pair).collect(),
        first: std::mem::take(&mut observed.first)
            .into_iter()
            .map(|((subject, prompt), site)| (subject, prompt, site.to_string()))
            .collect(),
    }
}

/// Puts it back, behind that of the groups before.
fn add(experiment: &Experiment, whole: &mut Observed, start: usize, unit: Unit) {
    let Unit { mut sites, logits, first } = unit;
    sites.iter_mut().for_each(|site| site.prompt += start);
    whole.sites.extend(sites);
    whole.logits.extend(logits.into_iter().map(|Pair { subject, with, mut logits }| {
        logits.prompt += start;
        Compared { subject, with, logits }
    }));
    for (subject, prompt, site) in first {
        if let Ok(site) = experiment.architecture(subject).site(&site) {
            whole.first.insert((subject, start + prompt), site);
        }
    }
}

/// Prompts that follow each other and have at least `tokens` tokens together; the last group may
/// have fewer.
fn groups(prompts: &[Vec<u32>], tokens: usize) -> Vec<Range<usize>> {
    let (mut groups, mut start, mut sum) = (Vec::new(), 0, 0usize);
    for (i, ids) in prompts.iter().enumerate() {
        sum = sum.saturating_add(ids.len());
        if sum >= tokens || i + 1 == prompts.len() {
            groups.push(start..i + 1);
            (start, sum) = (i + 1, 0);
        }
    }
    groups
}

/// Everything that determines what is observed of some prompts.
fn key(experiment: &Experiment, prompts: &[Vec<u32>]) -> String {
    let Experiment { subjects, sites, device, longest_watched, .. } = experiment;
    let mut key = format!(
        "compare {}\ndevice {device:?}\nsites {sites}\nlongest watched {longest_watched}\n",
        env!("CARGO_PKG_VERSION")
    );
    for subject in subjects {
        let made = match &subject.made {
            Made::Arm(arm) => format!("{} of {}", arm.recipe(), arm.checkpoint().stamp()),
            Made::Mix(mix) => format!("{mix:?}"),
        };
        key += &format!(
            "subject {:?}: {made}; compute {:?}; {:?}; against {:?}; watch {:?}\n",
            subject.name, subject.compute, subject.semantics, subject.against, subject.watch
        );
    }
    key + &format!("prompts {prompts:?}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_follow_each_other_and_leave_nothing_out() {
        let prompts: Vec<Vec<u32>> = [3, 1, 9, 2, 2, 1].map(|n| vec![0; n]).into();
        assert_eq!(groups(&prompts, 4), [0..2, 2..3, 3..5, 5..6]);
        assert_eq!(groups(&prompts, 1), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
        assert_eq!(groups(&prompts, usize::MAX).len(), 1);
        assert!(groups(&[], 4).is_empty());
    }
}
