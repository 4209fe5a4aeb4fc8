//! The score, in text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::cases::Split;
use super::outcome::{Kind, Outcome};

/// The share of faults that must be found at their site and by their name.
const ENOUGH: f64 = 0.95;

/// A part of the cases: real or not, split, family.
type Part = (bool, Split, &'static str);

/// How a part came out.
#[derive(Default)]
struct Score {
    cases: usize,
    effect: usize,
    site: usize,
    cause: usize,
    missed: usize,
    wrong: usize,
    seconds: f64,
    kind: Option<Kind>,
}

fn scores(outcomes: &[Outcome]) -> BTreeMap<Part, Score> {
    let mut scores: BTreeMap<Part, Score> = BTreeMap::new();
    for outcome in outcomes {
        for family in [outcome.family, ALL] {
            if family == ALL && outcome.kind != Kind::Fault {
                continue;
            }
            let score = scores.entry((outcome.real, outcome.split, family)).or_default();
            let counts = outcome.kind == Kind::Fault && outcome.effect;
            score.kind = Some(outcome.kind);
            score.cases += 1;
            score.effect += usize::from(counts);
            score.site += usize::from(counts && outcome.site_right);
            score.cause += usize::from(counts && outcome.cause_right);
            score.missed += usize::from(outcome.missed());
            score.wrong += usize::from(!outcome.right);
            score.seconds += outcome.seconds;
        }
    }
    scores
}

/// How the models of one family of decoders came out.
#[derive(Default)]
struct Family {
    cases: usize,
    /// Faults with an effect.
    faults: usize,
    /// Of these, with the right site and the right cause.
    right: usize,
    /// With one of the two.
    half: usize,
    missed: usize,
    nulls: usize,
    alarms: usize,
}

/// By whether the model is real, and by `model_type`.
fn families(outcomes: &[Outcome]) -> BTreeMap<(bool, &str), Family> {
    let mut families: BTreeMap<(bool, &str), Family> = BTreeMap::new();
    for outcome in outcomes {
        let family = families.entry((outcome.real, &outcome.decoder)).or_default();
        let counts = outcome.kind == Kind::Fault && outcome.effect;
        family.cases += 1;
        family.faults += usize::from(counts);
        family.right += usize::from(counts && outcome.site_right && outcome.cause_right);
        family.half += usize::from(counts && outcome.site_right != outcome.cause_right);
        family.missed += usize::from(outcome.missed());
        family.nulls += usize::from(outcome.kind == Kind::Null);
        family.alarms += usize::from(outcome.kind == Kind::Null && !outcome.right);
    }
    families
}

impl Family {
    fn wrong(&self) -> usize {
        self.faults - self.right - self.half
    }

    fn share(&self) -> f64 {
        if self.faults == 0 { 1.0 } else { self.right as f64 / self.faults as f64 }
    }
}

/// Sorts behind every family.
const ALL: &str = "~ faults";

fn heading((real, split, _): &Part) -> String {
    let model = if *real { "real model" } else { "tiny models" };
    let split = match split {
        Split::Development => "looked at while developing",
        Split::HeldOut => "held out",
    };
    format!("{model}, {split}")
}

pub(crate) fn text(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for (part, score) in &scores(outcomes) {
        let heading = heading(part);
        if heading != last {
            _ = writeln!(
                text,
                "\n{heading:<42}  cases  no effect  right site first  right cause first  missed  false alarms  s per case"
            );
            last = heading;
        }
        let share = |n: usize| match score.effect {
            0 => "-".to_owned(),
            all => format!("{n} of {all} ({:.1} %)", n as f64 / all as f64 * 100.0),
        };
        let fault = score.kind == Some(Kind::Fault);
        let of_fault = |said: String| if fault { said } else { "-".to_owned() };
        let family = if part.2 == ALL { "all faults" } else { part.2 };
        _ = writeln!(
            text,
            "  {family:<40}  {:>5}  {:>9}  {:>16}  {:>17}  {:>6}  {:>12}  {:>10.2}",
            score.cases,
            of_fault((score.cases - score.effect).to_string()),
            of_fault(share(score.site)),
            of_fault(share(score.cause)),
            of_fault(score.missed.to_string()),
            match score.kind {
                Some(Kind::Null) => score.wrong.to_string(),
                Some(Kind::Refused) if score.wrong == 0 => "all refused".to_owned(),
                Some(Kind::Refused) => format!("{} not refused", score.wrong),
                _ => "-".to_owned(),
            },
            score.seconds / score.cases as f64,
        );
    }
    _ = writeln!(
        text,
        "\n{:<24}  cases  faults with an effect  right      half  wrong  missed  nulls  false alarms",
        "by family of decoders"
    );
    for ((real, decoder), family) in families(outcomes) {
        let name = format!("{decoder}{}", if real { ", real model" } else { "" });
        let Family { cases, faults, right, half, missed, nulls, alarms } = family;
        let share = format!("{right} ({:.1} %)", family.share() * 100.0);
        _ = writeln!(
            text,
            "  {name:<22}  {cases:>5}  {faults:>21}  {share:<13}  {half:>4}  {:>5}  {missed:>6}  {nulls:>5}  {alarms:>12}",
            family.wrong(),
        );
    }
    for split in [Split::Development, Split::HeldOut] {
        let confusion = confusion(outcomes, split);
        if confusion.is_empty() {
            continue;
        }
        let about = if split == Split::HeldOut { "held out" } else { "looked at while developing" };
        _ = writeln!(text, "\nput in, with an effect ({about}){:<8}named", "");
        for (put_in, named) in confusion {
            let said: Vec<String> = named.iter().map(|(id, n)| format!("{id} {n}")).collect();
            _ = writeln!(text, "  {put_in:<26}  {}", said.join(", "));
        }
    }
    text.push('\n');
    text
}

/// What was put in, and how often it was named what; right names first.
fn confusion(outcomes: &[Outcome], split: Split) -> BTreeMap<&str, Vec<(String, usize)>> {
    let mut counts: BTreeMap<&str, BTreeMap<(bool, String), usize>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|o| o.split == split) {
        let put_in = match (outcome.put_in, outcome.kind, &outcome.named) {
            (Some(id), ..) if outcome.effect => id,
            (None, Kind::Null, _) => "nothing",
            _ => continue,
        };
        let named = match (outcome.kind, outcome.right) {
            (Kind::Null, true) => "no fault".to_owned(),
            _ => outcome.named.clone().unwrap_or_else(|| "nothing".to_owned()),
        };
        let wrong = outcome.kind == Kind::Fault && !outcome.cause_right;
        *counts.entry(put_in).or_default().entry((wrong, named)).or_default() += 1;
    }
    let list =
        |named: BTreeMap<(bool, String), usize>| named.into_iter().map(|((_, id), n)| (id, n)).collect();
    counts.into_iter().map(|(put_in, named)| (put_in, list(named))).collect()
}

pub(crate) fn json(outcomes: &[Outcome], elapsed: f64) -> Value {
    let parts: Vec<Value> = scores(outcomes)
        .iter()
        .map(|(part @ (real, split, family), s)| {
            json!({
                "what": heading(part), "real": real, "split": split,
                "family": if *family == ALL { "all faults" } else { family },
                "cases": s.cases, "with_effect": s.effect, "site_first": s.site, "cause_first": s.cause,
                "missed": s.missed, "wrong": s.wrong, "seconds": s.seconds,
            })
        })
        .collect();
    let families: Vec<Value> = families(outcomes)
        .into_iter()
        .map(|((real, decoder), f)| {
            json!({
                "decoder": decoder, "real": real, "cases": f.cases, "with_effect": f.faults, "right": f.right,
                "half": f.half, "wrong": f.wrong(), "missed": f.missed, "nulls": f.nulls, "false_alarms": f.alarms,
            })
        })
        .collect();
    let confusion: BTreeMap<&str, Value> =
        [("development", Split::Development), ("held-out", Split::HeldOut)]
            .into_iter()
            .map(|(name, split)| (name, json!(confusion(outcomes, split))))
            .collect();
    json!({ "seconds": elapsed, "parts": parts, "families": families, "confusion": confusion, "cases": outcomes })
}

/// Whether a part is below what is asked, or there was a false alarm.
pub(crate) fn fails(outcomes: &[Outcome]) -> bool {
    families(outcomes).values().any(|family| family.share() < ENOUGH)
        || scores(outcomes).iter().any(|((_, _, family), s)| match s.kind {
            Some(Kind::Fault) => *family == ALL && (s.site.min(s.cause) as f64) < ENOUGH * s.effect as f64,
            _ => s.wrong > 0,
        })
}
