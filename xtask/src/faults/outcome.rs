//! How one case came out.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;
use ulpscope_record::RunRecord;

use super::calibrate::Measures;
use super::cases::{self, Case, Expected, Model, Split};

/// What a case was, and what was found.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) family: &'static str,
    pub(crate) split: Split,
    pub(crate) decoder: String,
    pub(crate) real: bool,
    pub(crate) kind: Kind,
    /// What was put in: the first of the causes that count as right.
    pub(crate) put_in: Option<&'static str>,
    pub(crate) expected_site: Option<String>,
    /// Whether a bit of any logit differs between the arms.
    pub(crate) effect: bool,
    /// The first cause.
    pub(crate) named: Option<String>,
    /// The first origin.
    pub(crate) site: Option<String>,
    pub(crate) site_right: bool,
    pub(crate) cause_right: bool,
    /// Whether all is as expected; a fault without effect is neither right nor wrong, and counted
    /// as right here.
    pub(crate) right: bool,
    pub(crate) seconds: f64,
    /// Whether nothing at all is wrong in it.
    pub(crate) sound: bool,
    /// What it shows of the thresholds.
    pub(crate) measures: Measures,
    /// The error, where arms were refused.
    pub(crate) error: Option<String>,
}

/// What a case is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A fault was put in.
    Fault,
    /// None was.
    Null,
    /// The arms can't be compared.
    Refused,
}

impl Outcome {
    pub(crate) fn of(
        case: &Case,
        first: Result<RunRecord, String>,
        again: Option<Result<RunRecord, String>>,
        seconds: f64,
    ) -> Result<Self> {
        let mut outcome = Outcome {
            name: case.name.clone(),
            key: case.key.clone(),
            family: case.family,
            split: case.split,
            decoder: case.decoder.clone(),
            real: case.model == Model::Real,
            kind: Kind::Fault,
            put_in: None,
            expected_site: None,
            effect: false,
            named: None,
            site: None,
            site_right: false,
            cause_right: false,
            right: false,
            seconds,
            sound: matches!(case.expected, Expected::Nothing),
            measures: Measures::default(),
            error: None,
        };
        let record = match (first, &case.expected) {
            (Err(error), expected) => {
                match expected {
                    Expected::Refused => (outcome.kind, outcome.right) = (Kind::Refused, true),
                    Expected::Nothing | Expected::SameWith(_) => outcome.kind = Kind::Null,
                    // What was put in can't be run: nothing was found, rightly or not.
                    Expected::Fault { ids, .. } => {
                        (outcome.put_in, outcome.effect) = (ids.first().copied(), true)
                    }
                    Expected::Both { .. } => (outcome.put_in, outcome.effect) = (Some("two at once"), true),
                }
                outcome.error = Some(error);
                return Ok(outcome);
            }
            (Ok(record), _) => record,
        };
        let found = record.explanation.as_ref().context("the record has no explanation")?;
        outcome.measures = Measures::of(&record);
        outcome.effect = record.logits.iter().any(|l| l.equal < 1.0);
        outcome.named = found.causes.first().map(|c| c.id.clone());
        outcome.site = found.origins.first().map(|o| o.site.clone());
        // Everything differs between two formats: an overflow is at the site that its cause names.
        if outcome.named.as_deref() == Some("f16-overflow") {
            outcome.site = found.causes[0].site.clone();
        }
        let site = outcome.site.as_deref();
        match &case.expected {
            Expected::Nothing => {
                outcome.kind = Kind::Null;
                outcome.right = found.origins.is_empty() && found.causes.iter().all(|c| !c.fault);
            }
            Expected::SameWith(_) => {
                outcome.kind = Kind::Null;
                let again = again.context("it was run twice")?.map_err(|error| anyhow::anyhow!(error))?;
                outcome.right = serde_json::to_value(&again.logits)? == serde_json::to_value(&record.logits)?;
            }
            Expected::Refused => outcome.kind = Kind::Refused,
            Expected::Fault { ids, site: expected } => {
                outcome.put_in = ids.first().copied();
                outcome.expected_site = Some(expected.clone());
                outcome.site_right = cases::is(site, expected);
                outcome.cause_right = ids.iter().any(|id| outcome.named.as_deref() == Some(id));
            }
            Expected::Both { ids, site: expected } => {
                outcome.put_in = Some("two at once");
                outcome.expected_site = Some(expected.clone());
                outcome.site_right = cases::is(site, expected);
                let two: Vec<&str> = found.causes.iter().take(2).map(|c| c.id.as_str()).collect();
                outcome.cause_right = ids.iter().all(|id| two.contains(id));
                outcome.named =
                    if outcome.cause_right { Some("both".to_owned()) } else { Some(two.join(" + ")) };
            }
        }
        if outcome.kind == Kind::Fault {
            outcome.right = !outcome.effect || outcome.site_right && outcome.cause_right;
        }
        Ok(outcome)
    }

    /// A fault that reaches the logits, and of which nothing was found.
    pub(crate) fn missed(&self) -> bool {
        self.kind == Kind::Fault && self.effect && self.named.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.right, self.kind) {
            (true, Kind::Fault) if !self.effect => "none",
            (true, _) => "ok",
            _ => "WRONG",
        };
        let named = self.named.as_deref().unwrap_or("nothing");
        let site = self.site.as_deref().unwrap_or("no site");
        write!(f, "{verdict:<5} {} [{}]: {named} at {site}", self.name, self.family)?;
        match (&self.put_in, &self.expected_site) {
            (Some(id), Some(site)) if !self.right => write!(f, "; put in {id} at {site}")?,
            _ => {}
        }
        if let (Some(error), false) = (&self.error, self.right) {
            write!(f, "; refused: {error}")?;
        }
        write!(f, " ({:.2} s)", self.seconds)
    }
}
