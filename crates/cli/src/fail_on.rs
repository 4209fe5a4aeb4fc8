//! Conditions that turn a finding into exit status 3.

use std::fmt;
use std::str::FromStr;

use ulpscope_record::RunRecord;

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
    WeightsDifferent,
    BuffersDifferent,
}

const METRICS: [(&str, Metric); 7] = [
    ("kl", Metric::Kl),
    ("equal", Metric::Equal),
    ("mean_abs", Metric::MeanAbs),
    ("max_abs", Metric::MaxAbs),
    ("top1_agreement", Metric::Top1),
    ("weights_different", Metric::WeightsDifferent),
    ("buffers_different", Metric::BuffersDifferent),
];

impl Condition {
    /// One sentence for each arm and prompt for which the condition holds. A NaN fulfils every condition.
    pub(crate) fn violations(&self, record: &RunRecord) -> Vec<String> {
        let holds = |value: f64| {
            value.is_nan()
                || (self.or_equal && value == self.bound)
                || if self.above { value > self.bound } else { value < self.bound }
        };
        let values: Vec<(String, f64)> = match self.metric {
            Metric::WeightsDifferent => vec![("weights".to_owned(), record.weights.different.len() as f64)],
            Metric::BuffersDifferent => {
                let different = record.buffers.iter().filter(|b| !b.identical).count();
                vec![("buffers".to_owned(), different as f64)]
            }
            metric => record
                .logits
                .iter()
                .map(|l| {
                    let value = match metric {
                        Metric::Kl => l.kl,
                        Metric::Equal => l.equal,
                        Metric::MeanAbs => l.mean_abs,
                        Metric::MaxAbs => l.max_abs,
                        _ => l.top1_agreement,
                    };
                    (format!("arm {}, prompt {}", l.arm, l.prompt), value)
                })
                .collect(),
        };
        let sentence = |(what, value): (String, f64)| format!("--fail-on {self}: {what} has {value}");
        values.into_iter().filter(|(_, v)| holds(*v)).map(sentence).collect()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = METRICS.iter().find(|(_, m)| *m == self.metric).expect("every metric has a name").0;
        let operator = match (self.above, self.or_equal) {
            (true, false) => ">",
            (true, true) => ">=",
            (false, false) => "<",
            (false, true) => "<=",
        };
        write!(f, "{name}{operator}{}", self.bound)
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
            .ok_or_else(|| format!("unknown metric `{name}`; known are {}", known()))?
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
        for text in ["kl>0.001", "equal<1", "max_abs>=2", "top1_agreement<=0.5"] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for bad in ["", "kl", "kl>", "speed>1", "kl>NaN", "kl=3"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
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
