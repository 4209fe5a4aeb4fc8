//! What the script draws: the record's numbers by arm and prompt, as small as they can be without
//! showing others.
//!
//! Numbers have nine significant digits, which is five more than are ever shown. Of large runs a
//! part is kept, and `notes` says in sentences what is not; everything is in the record.

use serde_json::{Value, json};
use std::collections::HashMap;
use ulpscope_record::summary::block;
use ulpscope_record::text::shortened;
use ulpscope_record::{
    Arm, Candidate, Cause, Channel, Conversion, LogitDivergence, Origin, PositionDivergence, Prompt,
    RunRecord, SiteDetail, SiteDivergence, SiteFloor,
};

/// Sites, of all arms and prompts together.
const SITES: usize = 12_000;
/// Arms times prompts whose positions are kept.
const RUNS: usize = 64;
/// Points of a curve over positions; of more positions, each point is a mean.
const POINTS: usize = 1024;
/// Positions whose tokens are listed.
const LISTED: usize = 160;
/// Tensors of an arm in the table of conversions.
const TENSORS: usize = 3000;
/// Characters of a token that are shown.
const TOKEN: usize = 40;

/// Everything that the script of one run's page reads.
pub(crate) fn of(record: &RunRecord) -> Value {
    let mut notes = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut index = HashMap::new();
    for site in &record.sites {
        index.entry(site.site.as_str()).or_insert_with(|| {
            names.push(&site.site);
            names.len() - 1
        });
    }
    let beside = Beside::of(record);
    let mut room = SITES;
    let mut runs = Vec::new();
    for prompt in 0..record.prompts.len() {
        for (arm, of) in record.arms.iter().enumerate().skip(1) {
            if runs.len() == RUNS {
                break;
            }
            let sites: Vec<&SiteDivergence> =
                record.sites.iter().filter(|site| site.prompt == prompt && site.arm == of.name).collect();
            let logits = record.logits.iter().find(|l| l.prompt == prompt && l.arm == of.name);
            if sites.len() > room {
                continue;
            }
            room -= sites.len();
            let first = record.first.iter().find(|first| first.prompt == prompt && first.arm == of.name);
            runs.push(json!({
                "arm": arm,
                "prompt": prompt,
                "first": first.and_then(|first| first.site.as_deref()),
                "sites": sites.iter().map(|site| self::site(&beside, site, index[&*site.site])).collect::<Vec<_>>(),
                "logits": logits.map(|logits| self::logits(logits, &record.prompts[prompt])),
                "growth": growth(record, &of.name, prompt),
            }));
        }
    }
    let all = record.prompts.len() * record.arms.len().saturating_sub(1);
    if runs.len() < all {
        notes.push(format!(
            "Charts show {} of {all} pairs of arm and prompt; the others are in the record.",
            runs.len()
        ));
    }
    json!({
        "arms": record.arms.iter().map(|arm| json!({ "name": arm.name, "label": label(arm) })).collect::<Vec<_>>(),
        "prompts": record.prompts.iter().map(of_prompt).collect::<Vec<_>>(),
        "names": names,
        "runs": runs,
        "explained": explained(record),
        "texts": texts(record),
        "conversions": record.arms.iter().map(|arm| conversions(arm, &mut notes)).collect::<Vec<_>>(),
        "notes": notes,
    })
}

/// A number that JSON has or the word that JavaScript reads as one.
pub(crate) fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        _ if value.is_infinite() => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => json!(format!("{value:.8e}").parse::<f64>().unwrap_or(value)),
    }
}

fn label(arm: &Arm) -> String {
    format!("{}: {}", shortened(&arm.name, 20), shortened(&arm.recipe, 60))
}

fn of_prompt(prompt: &Prompt) -> Value {
    let text = prompt
        .text
        .as_deref()
        .map_or_else(|| prompt.unnamed().to_owned(), |text| format!("“{}”", shortened(text, 48)));
    json!({ "label": text, "tokens": prompt.ids.len() })
}

/// What the explanation says of sites, by arm, prompt and name.
#[derive(Default)]
struct Beside<'a> {
    floors: HashMap<(&'a str, usize, &'a str), &'a SiteFloor>,
    origins: HashMap<(&'a str, usize, &'a str), &'a Origin>,
    causes: &'a [Cause],
}

impl<'a> Beside<'a> {
    fn of(record: &'a RunRecord) -> Self {
        let Some(e) = &record.explanation else { return Self::default() };
        let arm = e.arm.as_str();
        Self {
            floors: e.floor.sites.iter().map(|floor| ((arm, floor.prompt, &*floor.site), floor)).collect(),
            origins: e.origins.iter().map(|origin| ((arm, origin.prompt, &*origin.site), origin)).collect(),
            causes: &e.causes,
        }
    }
}

fn key(site: &SiteDivergence) -> (&str, usize, &str) {
    (&site.arm, site.prompt, &site.site)
}

/// One site: index of its name, shape, what has accumulated, what it introduces, and what is known
/// beside.
fn site(beside: &Beside, site: &SiteDivergence, name: usize) -> Value {
    let (d, i) = (&site.difference, &site.introduced);
    let floor = beside.floors.get(&key(site)).copied();
    let origin = beside.origins.get(&key(site)).copied();
    let cause = |index: usize| beside.causes.get(index).map(|cause| cause.id.as_str());
    let own = [d.equal, d.mean_abs, d.max_abs, d.rms, d.cosine, d.sqnr_db].map(number);
    let introduced = [i.equal, i.mean_abs, i.max_abs, i.rms].map(number);
    let tokens: Vec<Value> =
        site.mean_abs_by_position.iter().take(POINTS).map(|value| number(*value)).collect();
    let floor = floor.map(|floor| [floor.differing, floor.mean_abs[0], floor.mean_abs[1]].map(number));
    let origin = origin.map(|origin| {
        json!({
            "differing": origin.differing,
            "expected": number(origin.expected),
            "rms": number(origin.rms_ratio),
            "p": number(origin.p_value),
            "cause": origin.cause.and_then(cause),
        })
    });
    let detail = site.detail.as_ref().map(detail);
    json!([
        name,
        site.shape,
        own,
        introduced,
        site.nonfinite,
        tokens,
        floor,
        origin,
        block(&site.site),
        detail
    ])
}

fn detail(detail: &SiteDetail) -> Value {
    let channels = |channels: &[Channel]| -> Vec<Value> {
        channels.iter().map(|c| json!([c.index, number(c.mean_abs), number(c.largest)])).collect()
    };
    let elements = detail.elements.iter();
    let elements: Vec<Value> = elements
        .map(|e| json!({ "index": e.index, "values": e.values.map(exact), "bits": e.bits }))
        .collect();
    json!({
        "introduced": detail.introduced,
        "lowest": detail.lowest_exponent,
        "counts": detail.by_exponent,
        "channels": channels(&detail.channels),
        "massive": channels(&detail.massive),
        "elements": elements,
    })
}

/// An element's value in all its digits, since two of them may differ in the last one only.
fn exact(value: f64) -> String {
    // The shortest digits that read back as the same f32, where it is one, as PyTorch would print
    // it.
    let narrow = value as f32;
    let plain = value == 0.0 || !value.is_finite() || (1e-4..1e7).contains(&value.abs());
    match (f64::from(narrow) == value, plain) {
        (true, true) => narrow.to_string(),
        (true, false) => format!("{narrow:e}"),
        (false, true) => value.to_string(),
        (false, false) => format!("{value:e}"),
    }
}

fn logits(logits: &LogitDivergence, prompt: &Prompt) -> Value {
    let positions = &logits.by_position;
    let step = positions.len().div_ceil(POINTS).max(1);
    let points = |value: fn(&PositionDivergence) -> f64| -> Vec<Value> {
        let mean = |chunk: &[PositionDivergence]| chunk.iter().map(value).sum::<f64>() / chunk.len() as f64;
        positions.chunks(step).map(|chunk| number(mean(chunk))).collect()
    };
    let flips = |chunk: &[PositionDivergence]| chunk.iter().filter(|at| at.top1[0] != at.top1[1]).count();
    // Those with candidates; of a record without, the first flips and the first positions.
    let named = positions.iter().any(|at| at.top.iter().any(|top| !top.is_empty()));
    let wanted = |at: &PositionDivergence| !named || at.top.iter().any(|top| !top.is_empty());
    let listed: Vec<Value> = (positions.iter().enumerate())
        .filter(|(_, at)| wanted(at))
        .take(LISTED)
        .map(|(index, at)| {
            json!({
                "at": index,
                "token": prompt.tokens.get(index).map(|token| shortened(token, TOKEN)),
                "kl": number(at.kl),
                "equal": number(at.equal),
                "mean": number(at.mean_abs),
                "max": number(at.max_abs),
                "top1": at.top1,
                "margin": at.margin.map(number),
                "nll": at.nll.map(number),
                "top": at.top.each_ref().map(|top| top.iter().map(candidate).collect::<Vec<_>>()),
            })
        })
        .collect();
    json!({
        "step": step,
        "positions": positions.len(),
        "kl": points(|at| at.kl),
        "mean": points(|at| at.mean_abs),
        "flips": positions.chunks(step).map(flips).collect::<Vec<_>>(),
        "listed": listed,
    })
}

fn candidate(candidate: &Candidate) -> Value {
    json!([candidate.id, number(candidate.logit), number(candidate.probability)])
}

fn texts(record: &RunRecord) -> Value {
    let texts = record.token_texts.iter();
    texts
        .map(|(id, text)| (id.to_string(), json!(shortened(text, TOKEN))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Ranges of positions: from, to, measured, floor's mean and standard deviation, intrinsic, whether
/// it exceeds.
fn growth(record: &RunRecord, arm: &str, prompt: usize) -> Vec<Value> {
    let explanation = record.explanation.as_ref().filter(|e| e.arm == arm);
    let buckets = explanation.map_or(&[][..], |e| &e.growth).iter().filter(|b| b.prompt == prompt);
    buckets
        .map(|b| {
            let [kl, mean, sd, size] = [b.kl, b.floor_mean, b.floor_sd, b.intrinsic_kl].map(number);
            json!([b.from, b.to, kl, mean, sd, size, b.exceeds])
        })
        .collect()
}

fn explained(record: &RunRecord) -> Value {
    let Some(e) = &record.explanation else { return Value::Null };
    let longest = e.growth.iter().max_by_key(|bucket| bucket.to).map(|bucket| bucket.prompt);
    json!({
        "arm": record.arms.iter().position(|arm| arm.name == e.arm),
        "orders": e.floor.orders.len(),
        "onset": e.onset,
        "expected": e.expected_onset,
        "onsetPrompt": longest,
    })
}

fn conversions(arm: &Arm, notes: &mut Vec<String>) -> Vec<Value> {
    if arm.conversions.len() > TENSORS {
        let all = arm.conversions.len();
        notes.push(format!("Of arm {} {TENSORS} of {all} tensors are listed.", arm.name));
    }
    let row = |c: &Conversion| {
        json!([c.name, c.from, c.to, c.action, c.elements, c.changed, c.overflowed, c.flushed, c.nonfinite])
    };
    arm.conversions.iter().take(TENSORS).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_all_their_digits() {
        let values = [0.1f32.into(), 0.1, -0.0, f64::NAN, f64::INFINITY, 2f64.powi(-130), 24_576.0];
        assert_eq!(values.map(exact), ["0.1", "0.1", "-0", "NaN", "inf", "7.34684e-40", "24576"]);
        assert_eq!(exact(0.1f64.next_up()), "0.10000000000000002");
    }
}
