//! Conditions that turn a finding into exit status 3.

use std::fmt;
use std::str::FromStr;

use ulpscope_record::summary::names;
use ulpscope_record::text::number;
use ulpscope_record::{Consequence, RunRecord, SiteDivergence, Status};

use crate::suggestions;

/// A comparison of a metric with a number, such as `kl>1e-3`.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    metric: Metric,
    above: bool,
    or_equal: bool,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Kl,
    Equal,
    MeanAbs,
    MaxAbs,
    Top1,
    SitesIntroducing,
    WeightsDifferent,
    BuffersDifferent,
    CausesAboveFloor,
}

const METRICS: [(&str, Metric); 9] = [
    ("kl", Metric::Kl),
    ("equal", Metric::Equal),
    ("mean_abs", Metric::MeanAbs),
    ("max_abs", Metric::MaxAbs),
    ("top1_agreement", Metric::Top1),
    ("sites_introducing", Metric::SitesIntroducing),
    ("weights_different", Metric::WeightsDifferent),
    ("buffers_different", Metric::BuffersDifferent),
    ("causes_above_floor", Metric::CausesAboveFloor),
];

/// A condition that holds.
pub(crate) struct Violation {
    /// With the condition as it was given.
    pub(crate) sentence: String,
    /// With what was found first: `kl 0.526 > 0.01 (ck_i4, prompt 0)`.
    pub(crate) brief: String,
}

/// What a value is of.
enum Place<'a> {
    Run,
    Prompt(&'a str, usize),
}

impl Condition {
    fn operator(&self) -> &'static str {
        match (self.above, self.or_equal) {
            (true, false) => ">",
            (true, true) => ">=",
            (false, false) => "<",
            (false, true) => "<=",
        }
    }

    /// Whether it is about what only `explain` finds.
    pub(crate) fn needs_explanation(&self) -> bool {
        self.metric == Metric::CausesAboveFloor
    }

    /// One for each arm and prompt for which the condition holds. What is NaN, or could not be
    /// measured, fulfils every condition.
    pub(crate) fn violations(&self, record: &RunRecord) -> Vec<Violation> {
        let holds = |value: f64| {
            value.is_nan()
                || (self.or_equal && value == self.bound)
                || if self.above { value > self.bound } else { value < self.bound }
        };
        let violation = |(place, value): (Place<'_>, f64)| {
            let (what, short) = match place {
                Place::Run => ("the run".to_owned(), String::new()),
                Place::Prompt(arm, prompt) => (
                    format!("arm {arm}, prompt {prompt}"),
                    format!(" ({}, prompt {prompt})", called(record, arm)),
                ),
            };
            let (name, operator) = (self.metric.name(), self.operator());
            let unmeasured = "NaN: it could not be measured";
            let [value, found] = match value.is_nan() {
                true => [unmeasured.to_owned(), "NaN".to_owned()],
                false => [value.to_string(), number(value)],
            };
            Violation {
                sentence: format!("--fail-on {self}: {what} has {name} {value}"),
                brief: format!("{name} {found} {operator} {}{short}", self.bound),
            }
        };
        self.metric.values(record).into_iter().filter(|(_, v)| holds(*v)).map(violation).collect()
    }
}

impl Metric {
    fn name(self) -> &'static str {
        METRICS.iter().find(|(_, m)| *m == self).expect("every metric has a name").0
    }

    /// What the record has of it; NaN where it could not be measured.
    fn values(self, record: &RunRecord) -> Vec<(Place<'_>, f64)> {
        // A trace holds activations alone.
        let traced = !record.settings.traces.is_empty();
        let of_run = |value: f64| vec![(Place::Run, value)];
        match self {
            Metric::WeightsDifferent if traced || record.weights.compared == 0 => of_run(f64::NAN),
            Metric::WeightsDifferent => of_run(record.weights.different.len() as f64),
            Metric::BuffersDifferent if traced => of_run(f64::NAN),
            Metric::BuffersDifferent => of_run(record.buffers.iter().filter(|b| !b.identical).count() as f64),
            Metric::CausesAboveFloor => of_run(causes_above_floor(record)),
            _ => {
                let arms = || record.arms.iter().skip(1).map(|arm| arm.name.as_str());
                let pairs = (0..record.prompts.len()).flat_map(|p| arms().map(move |arm| (arm, p)));
                let value = |(arm, prompt)| (Place::Prompt(arm, prompt), self.on(record, arm, prompt));
                let found: Vec<_> = pairs.map(value).collect();
                if found.is_empty() { of_run(f64::NAN) } else { found }
            }
        }
    }

    /// Of an arm on a prompt.
    fn on(self, record: &RunRecord, arm: &str, prompt: usize) -> f64 {
        if self == Metric::SitesIntroducing {
            return introducing(record, arm, prompt);
        }
        let found = record.logits.iter().find(|l| l.arm == arm && l.prompt == prompt);
        // Distances and ranks are of what is a number in both arms; and two NaNs count as equal.
        let Some(l) = found.filter(|l| l.nonfinite == [0, 0] && !l.kl.is_nan()) else { return f64::NAN };
        match self {
            Metric::Equal => l.equal,
            Metric::MeanAbs => l.mean_abs,
            Metric::MaxAbs => l.max_abs,
            Metric::Top1 => l.top1_agreement,
            _ => l.kl,
        }
    }
}

/// Causes whose effect exceeds the noise floor; NaN where that was not decided.
fn causes_above_floor(record: &RunRecord) -> f64 {
    let Some(found) = &record.explanation else { return f64::NAN };
    let judged = found.judgement.as_ref().map(|judgement| judgement.consequence);
    if found.status == Status::Incomplete || judged == Some(Consequence::Undecided) {
        return f64::NAN;
    }
    if found.status == Status::NoDifference {
        return 0.0;
    }
    // Beside the floor there are logits alone.
    if found.growth.is_empty() || found.growth.iter().any(|range| range.kl.is_nan()) {
        return f64::NAN;
    }
    // What no cause is known of has one all the same.
    let unknown = found.status == Status::Unexplained && found.growth.iter().any(|range| range.exceeds);
    (found.causes.iter().filter(|cause| cause.exceeds_floor).count() + usize::from(unknown)) as f64
}

/// What tells an arm from the reference.
fn called(record: &RunRecord, name: &str) -> String {
    let arm = record.arms.iter().find(|arm| arm.name == name);
    arm.map_or(name.to_owned(), |arm| names(record, arm)[1].clone())
}

/// Sites that do not give the reference's bits on the reference's inputs; NaN where none was
/// compared, a trace lacks some, or the reference holds what is no number.
fn introducing(record: &RunRecord, arm: &str, prompt: usize) -> f64 {
    let sites = || record.sites.iter().filter(|s| s.arm == arm && s.prompt == prompt);
    let traced = !record.settings.traces.is_empty();
    let lacking = traced && record.coverage.compared < record.coverage.sites;
    let odd = |s: &SiteDivergence| s.is_blind() || s.introduced.equal.is_nan();
    if lacking || sites().next().is_none() || sites().any(odd) {
        return f64::NAN;
    }
    sites().filter(|s| s.introduced.equal != 1.0).count() as f64
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.metric.name(), self.operator(), self.bound)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let at = s.find(['<', '>']).ok_or("a condition is written `metric>number` or `metric<number`")?;
        let (name, rest) = (s[..at].trim(), &s[at + 1..]);
        let (or_equal, number) = rest.strip_prefix('=').map_or((false, rest), |n| (true, n));
        let known = || METRICS.map(|(name, _)| name).join(", ");
        let metric = METRICS
            .iter()
            .find(|(n, _)| *n == name)
            .ok_or_else(|| {
                let near = suggestions::name(name, METRICS.map(|(name, _)| name));
                format!("unknown metric `{name}`{near}; known are {}", known())
            })?
            .1;
        let bound: f64 = number.trim().parse().map_err(|_| format!("`{}` is no number", number.trim()))?;
        if bound.is_nan() {
            return Err("nothing compares with NaN".to_owned());
        }
        Ok(Condition { metric, above: s.as_bytes()[at] == b'>', or_equal, bound })
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    #[test]
    fn conditions_are_read_and_printed() {
        for text in ["kl>0.001", "equal<1", "max_abs>=2", "top1_agreement<=0.5", "causes_above_floor>0"] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for bad in ["", "kl", "kl>", "speed>1", "kl>NaN", "kl=3"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_holds_is_said_with_arm_prompt_and_value() {
        let mut record = RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap();
        let all = |record: &RunRecord, text: &str| text.parse::<Condition>().unwrap().violations(record);
        let found = |record: &RunRecord, text: &str| {
            all(record, text).into_iter().map(|violation| violation.sentence).collect::<Vec<_>>()
        };
        record.logits.truncate(1);
        record.logits[0].kl = 0.5;
        let arm = record.logits[0].arm.clone();
        assert_eq!(found(&record, "kl>=0.5"), [format!("--fail-on kl>=0.5: arm {arm}, prompt 0 has kl 0.5")]);
        assert_eq!(all(&record, "kl>=0.5")[0].brief, "kl 0.5000 >= 0.5 (load(f32).to(bf16), prompt 0)");
        for holds_not in ["kl>0.5", "kl<0.5", "buffers_different>1000", "weights_different<0"] {
            assert_eq!(found(&record, holds_not), [""; 0], "{holds_not}");
        }
        record.logits[0].kl = f64::NAN;
        for condition in ["kl>1e300", "max_abs>1e300", "mean_abs>1e300"] {
            assert_eq!(found(&record, condition).len(), 1, "{condition}: a NaN is no good news");
        }
        let of_arm = |s: &&ulpscope_record::SiteDivergence| s.arm == arm && s.prompt == 0;
        let sites = record.sites.iter().filter(of_arm).filter(|s| s.introduced.equal < 1.0).count();
        assert_eq!(found(&record, &format!("sites_introducing>={sites}")).len(), 1);
        assert_eq!(found(&record, &format!("sites_introducing>{sites}")).len(), 0);
        for cause in &mut record.explanation.as_mut().unwrap().causes {
            cause.exceeds_floor = true;
        }
        assert_eq!(found(&record, "causes_above_floor>0").len(), 1);
        let explanation = record.explanation.as_mut().unwrap();
        explanation.causes.clear();
        explanation.status = Status::Unexplained;
        explanation.growth[0].exceeds = true;
        assert_eq!(found(&record, "causes_above_floor>=1").len(), 1, "nobody knows why is no good news");
    }

    /// Every metric, every operator, every bound: wherever a number is none, and whatever could not
    /// be compared, the gate closes.
    #[test]
    fn nothing_unmeasured_passes() {
        type Damage = fn(&mut RunRecord);
        let of_logits = &["kl", "equal", "mean_abs", "max_abs", "top1_agreement"][..];
        let all: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
        let cases: &[(&str, &[&str], Damage)] = &[
            ("KL is NaN", of_logits, |r| r.logits[0].kl = f64::NAN),
            ("NaN in both, which counts as equal", of_logits, |r| r.logits[0].nonfinite = [3, 3]),
            ("infinite in the arm", of_logits, |r| r.logits[0].nonfinite = [0, 1]),
            ("infinite in the reference", of_logits, |r| r.logits[0].nonfinite = [1, 0]),
            ("no logits", of_logits, |r| r.logits.clear()),
            ("logits of another prompt", of_logits, |r| r.logits.iter_mut().for_each(|l| l.prompt += 7)),
            ("an arm without logits", of_logits, |r| r.logits[0].arm = "z".into()),
            ("no sites", &["sites_introducing"], |r| r.sites.clear()),
            ("sites of no arm", &["sites_introducing"], |r| {
                r.sites.iter_mut().for_each(|s| s.arm = "z".into());
            }),
            ("NaN introduced", &["sites_introducing"], |r| r.sites[0].introduced.equal = f64::NAN),
            ("NaN in the reference", &["sites_introducing"], |r| r.sites[0].nonfinite = [2, 2]),
            ("sites lack", &["sites_introducing", "weights_different", "buffers_different"], |r| {
                r.settings.traces = vec!["t".into()];
                r.coverage.compared = r.coverage.sites - 1;
            }),
            ("no weights", &["weights_different"], |r| r.weights = Default::default()),
            ("no explanation", &["causes_above_floor"], |r| r.explanation = None),
            ("incomplete", &["causes_above_floor"], |r| {
                r.explanation.as_mut().unwrap().status = Status::Incomplete;
            }),
            ("undecided", &["causes_above_floor"], |r| {
                let judgement = r.explanation.as_mut().unwrap().judgement.as_mut().unwrap();
                judgement.consequence = Consequence::Undecided;
            }),
            ("no floor", &["causes_above_floor"], |r| r.explanation.as_mut().unwrap().growth.clear()),
            ("KL of a range is NaN", &["causes_above_floor"], |r| {
                r.explanation.as_mut().unwrap().growth[0].kl = f64::NAN;
            }),
            ("no prompts", &[of_logits, &["sites_introducing"]].concat(), |r| r.prompts.clear()),
            ("one arm", &[of_logits, &["sites_introducing"]].concat(), |r| r.arms.truncate(1)),
        ];
        let whole = RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap();
        for (what, metrics, damage) in cases {
            let mut record = whole.clone();
            damage(&mut record);
            for metric in &all {
                for operator in ["<", "<=", ">", ">="] {
                    for bound in ["-inf", "-1", "0", "1e-3", "1", "1e300", "inf"] {
                        let condition: Condition = format!("{metric}{operator}{bound}").parse().unwrap();
                        let found = condition.violations(&record);
                        if metrics.contains(metric) {
                            assert!(!found.is_empty(), "{condition}: {what}");
                            assert!(found[0].sentence.contains("could not be measured"), "{condition}");
                        }
                    }
                }
                // What was measured all the same is judged as before.
                let never: Condition = format!("{metric}>1e300").parse().unwrap();
                if !metrics.contains(metric) {
                    assert_eq!(never.violations(&record).len(), 0, "{metric}: {what}");
                }
            }
        }
    }

    #[test]
    fn fuzz_fail_on() {
        let record = RunRecord::from_json(include_str!("../../record/tests/small.json")).unwrap();
        Target::new("fail-on", env!("CARGO_MANIFEST_DIR"))
            .seed("kl>1e-3")
            .seed(" top1_agreement <= 0.5")
            .seed("weights_different>=1")
            .words(&["kl", "equal", "mean_abs", "<", ">", "=", "NaN", "inf", "-", "1e400", " "])
            .text()
            .run(|input| {
                let condition: Condition = String::from_utf8_lossy(input).parse()?;
                let again: Condition = condition.to_string().parse().expect("what is printed is read");
                assert_eq!(again.to_string(), condition.to_string());
                Ok("x".repeat(condition.violations(&record).len()))
            });
    }
}
