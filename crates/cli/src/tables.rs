//! Tables for people, drawn from a record alone.

use std::fmt::Write;

use ulpscope_metrics::Difference;
use ulpscope_record::summary::{bisected, block, fork, measured, proved};
use ulpscope_record::text::{number, percent, shortened};
use ulpscope_record::{Arm, Buffer, Explanation, Model, RunRecord, SiteDivergence, Weights};

use crate::torch;

/// Differing tensors that are listed one by one.
const ROWS: usize = 20;

/// Everything a run found, as text.
pub(crate) fn record(record: &RunRecord) -> String {
    let mut text = model(&record.model);
    text += &arms(&record.arms);
    for (i, prompt) in record.prompts.iter().enumerate() {
        let shown = prompt
            .text
            .as_ref()
            .map_or_else(|| "given as ids".to_owned(), |t| format!("{:?}", shortened(t, 60)));
        let ids = shortened(&format!("{:?}", prompt.ids), 60);
        _ = writeln!(text, "prompt {i}: {shown}, {} tokens {ids}", prompt.ids.len());
    }
    if record.settings.traces.is_empty() {
        text += &weights(&record.arms, &record.weights, &record.buffers);
    }
    for prompt in 0..record.prompts.len() {
        for arm in &record.arms[1..] {
            text += &logits(record, arm, prompt);
            text += &layers(record, arm, prompt);
            text += &origin(record, arm, prompt);
        }
    }
    text += &record.explanation.as_ref().map_or(String::new(), explanation);
    if !record.coverage.not_compared.is_empty() {
        text += "\nnot compared\n";
        for what in &record.coverage.not_compared {
            _ = writeln!(text, "  {what}");
        }
    }
    _ = writeln!(
        text,
        "\n{} of {} sites compared, {:.2} s, {} threads, {}",
        record.coverage.compared,
        record.coverage.sites,
        record.provenance.elapsed_s,
        record.provenance.threads,
        record.provenance.kernel
    );
    text
}

fn model(model: &Model) -> String {
    let revision = model.revision.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
    let mut text = format!("model: {} ({}{revision})\n", model.name, model.source);
    if model.stand_in {
        text += "  a stand-in: what was asked for first could not be had\n";
        for reason in &model.unavailable {
            _ = writeln!(text, "  {reason}");
        }
    }
    text
}

/// The arms, and in a line each what their recipes did.
pub(crate) fn arms(arms: &[Arm]) -> String {
    let width = arms.iter().map(|a| a.name.len()).max().unwrap_or(0);
    let recipes = arms.iter().map(|a| a.recipe.len()).max().unwrap_or(0);
    let mut text = String::new();
    for arm in arms {
        let from = arm.model.as_ref().map(|m| format!(", from {}", m.name)).unwrap_or_default();
        let sum =
            |field: fn(&ulpscope_record::Conversion) -> u64| arm.conversions.iter().map(field).sum::<u64>();
        let mut did = match arm.conversions.len() {
            // Of a trace nothing is known but what it says.
            0 => String::new(),
            _ => format!("; {} of {} values changed by rounding", sum(|c| c.changed), sum(|c| c.elements)),
        };
        for (count, what) in [
            (sum(|c| c.overflowed), "overflowed"),
            (sum(|c| c.flushed), "flushed to zero"),
            (sum(|c| c.nonfinite), "NaN or infinite"),
        ] {
            if count > 0 {
                _ = write!(did, ", {count} {what}");
            }
        }
        _ = writeln!(
            text,
            "arm {:width$}  {:recipes$}  {}, {}{from}{did}",
            arm.name, arm.recipe, arm.dtype, arm.attention
        );
    }
    text
}

/// State dicts and buffers.
pub(crate) fn weights(arms: &[Arm], weights: &Weights, buffers: &[Buffer]) -> String {
    let fraction =
        if weights.compared == 0 { 1.0 } else { weights.identical as f64 / weights.compared as f64 };
    let mut text = format!(
        "\nweights: {} of {} tensors of the state dict identical in every arm ({})\n",
        weights.identical,
        weights.compared,
        percent(fraction)
    );
    for d in weights.different.iter().take(ROWS) {
        let relation = d.relation.as_deref().unwrap_or("no simple relation");
        _ = writeln!(
            text,
            "  {} in {}: {} | {}, equal {}, mean |a-b| {}, max |a-b| {}, {relation}",
            d.name,
            d.arm,
            d.dtypes[0],
            d.dtypes[1],
            percent(d.equal),
            number(d.mean_abs),
            number(d.max_abs)
        );
        if d.nonfinite != [0, 0] {
            _ = writeln!(text, "    NaN or infinite: {} | {}", d.nonfinite[0], d.nonfinite[1]);
        }
    }
    if weights.different.len() > ROWS {
        _ = writeln!(text, "  and {} more", weights.different.len() - ROWS);
    }
    text += "buffers that no state dict holds\n";
    for arm in &arms[1..] {
        for b in buffers.iter().filter(|b| b.arm == arm.name) {
            let verdict = if b.identical {
                "identical".to_owned()
            } else {
                let relation = b.relation.as_deref().unwrap_or("no simple relation");
                format!(
                    "DIFFERENT  max |a-b| {} (relative {})  {relation}",
                    number(b.max_abs),
                    number(b.max_rel)
                )
            };
            _ = writeln!(text, "  {:35} a {} | {} {}  {verdict}", b.name, b.dtypes[0], b.arm, b.dtypes[1]);
        }
    }
    text
}

fn logits(record: &RunRecord, arm: &Arm, prompt: usize) -> String {
    let Some(l) = record.logits.iter().find(|l| l.arm == arm.name && l.prompt == prompt) else {
        return String::new();
    };
    let reference = &record.arms[0].name;
    let mut text = String::new();
    for (name, corner) in [reference, &arm.name].into_iter().zip(&l.corners) {
        _ = writeln!(text, "\nlogits of {name}, prompt {prompt}\n{}", torch::tensor(corner));
    }
    _ = writeln!(
        text,
        "\nallclose {}   equal {}   mean |a-b| {} (as {}: {})   max |a-b| {}",
        l.allclose,
        percent(l.equal),
        number(l.mean_abs),
        arm.dtype,
        rounded(l.mean_abs, &arm.dtype),
        number(l.max_abs)
    );
    _ = writeln!(
        text,
        "KL({reference} || {}) {} nats   same most likely token at {} of positions",
        arm.name,
        number(l.kl),
        percent(l.top1_agreement)
    );
    if l.nonfinite != [0, 0] {
        _ = writeln!(text, "NaN or infinite logits: {} | {}", l.nonfinite[0], l.nonfinite[1]);
    }
    text
}

/// What PyTorch would print for the same mean: it keeps the tensors' dtype.
fn rounded(x: f64, dtype: &str) -> String {
    let dtype = dtype.parse().unwrap_or(ulpscope_floats::DType::F64);
    format!("{}", ulpscope_floats::Floats::from(vec![x]).cast(dtype).get(0) as f32)
}

fn of<'a>(record: &'a RunRecord, arm: &'a Arm, prompt: usize) -> impl Iterator<Item = &'a SiteDivergence> {
    record.sites.iter().filter(move |s| s.arm == arm.name && s.prompt == prompt)
}

fn layers(record: &RunRecord, arm: &Arm, prompt: usize) -> String {
    let head = format!(
        "{:>7}  {:>12} {:>14}  {:>10}  {:>9}",
        "layer",
        "mean |a-b|",
        format!("as {}", arm.dtype),
        "max |a-b|",
        "equal"
    );
    let mut text = format!(
        "\noutputs of blocks, {} against {}, prompt {prompt}\n{head}\n",
        arm.name, record.arms[0].name
    );
    let mut any = false;
    for (n, s) in of(record, arm, prompt).filter_map(|s| Some((block(&s.site)?, s))) {
        any = true;
        let d = &s.difference;
        _ = writeln!(
            text,
            "{n:>7}  {:>12} {:>14}  {:>10}  {:>9}",
            number(d.mean_abs),
            rounded(d.mean_abs, &arm.dtype),
            number(d.max_abs),
            percent(d.equal)
        );
    }
    if any { text } else { String::new() }
}

/// Where it starts: the first site, the sites that introduce most, and the sites of layer 0 one by one.
fn origin(record: &RunRecord, arm: &Arm, prompt: usize) -> String {
    let mut text = String::new();
    let inside: Vec<_> = of(record, arm, prompt)
        .filter(|s| !s.site.starts_with("model.layers.") || s.site.starts_with("model.layers.0"))
        .collect();
    if !inside.is_empty() {
        _ = writeln!(
            text,
            "\nsites outside the blocks and in layer 0: accumulated, and introduced on the reference's inputs"
        );
        _ = writeln!(
            text,
            "  {:42} {:>9}  {:>10}  {:>10}    {:>9}  {:>10}",
            "", "equal", "mean |a-b|", "max |a-b|", "equal", "mean |a-b|"
        );
        for s in inside {
            let (d, i) = (&s.difference, &s.introduced);
            _ = writeln!(
                text,
                "  {:42} {:>9}  {:>10}  {:>10}    {:>9}  {:>10}",
                s.site,
                percent(d.equal),
                number(d.mean_abs),
                number(d.max_abs),
                percent(i.equal),
                number(i.mean_abs)
            );
        }
    }
    let introducing: Vec<_> = of(record, arm, prompt).filter(|s| s.introduced.equal < 1.0).collect();
    match record.first.iter().find(|f| f.arm == arm.name && f.prompt == prompt).and_then(|f| f.site.as_ref())
    {
        Some(site) => _ = writeln!(text, "\nfirst site that differs: {site}"),
        None => _ = writeln!(text, "\nno site differs: every activation is bit-equal"),
    }
    if introducing.is_empty() {
        text += "sites that introduce a difference on equal inputs: none of those observed\n";
    } else {
        let names: Vec<_> = introducing
            .iter()
            .map(|s| format!("{} ({} of elements)", s.site, percent(1.0 - s.introduced.equal)))
            .collect();
        let shown = names.len().min(6);
        let more =
            if names.len() > shown { format!(", and {} more", names.len() - shown) } else { String::new() };
        _ = writeln!(
            text,
            "sites that introduce a difference on equal inputs: {}{more}",
            names[..shown].join(", ")
        );
    }
    text
}

/// The verdict, and in a line each what stands behind it.
pub(crate) fn explanation(found: &Explanation) -> String {
    let mut text = format!("\n{}: {}\n", found.status.name().replace('-', " "), found.verdict);
    for cause in &found.causes {
        let relation = cause.relation.as_ref().map(|r| format!("  {r}")).unwrap_or_default();
        _ = writeln!(text, "cause {}  {}{relation}", cause.id, cause.subject);
        let site = cause.site.as_deref().unwrap_or("at no site that was observed");
        _ = writeln!(text, "  first seen {site}; proved {}", proved(cause));
        _ = writeln!(
            text,
            "  share of KL {}   intrinsic KL {}   floor {} nats{}",
            measured(cause.kl_share, percent),
            measured(cause.intrinsic_kl, |kl| format!("{} nats ({})", number(kl), cause.intrinsic_compute)),
            number(cause.floor_kl),
            if cause.exceeds_floor { "" } else { ", not above it" }
        );
        if !cause.remedy.is_empty() {
            _ = writeln!(text, "  {}", cause.remedy);
        }
    }
    for origin in found.origins.iter().take(ROWS) {
        let [differing, all] = origin.differing;
        _ = writeln!(
            text,
            "origin {} on prompt {}: {differing} of {all} elements, expected {}; rms {} times the floor's; p {}",
            origin.site,
            origin.prompt,
            number(origin.expected),
            number(origin.rms_ratio),
            number(origin.p_value)
        );
    }
    if found.origins.len() > ROWS {
        _ = writeln!(text, "  and {} more", found.origins.len() - ROWS);
    }
    if let Some(found) = &found.bisection {
        _ = writeln!(text, "halving: {}", bisected(found));
    }
    for decision in found.decisions.iter().take(ROWS) {
        let [flips, positions] = decision.flips;
        _ = writeln!(
            text,
            "decisions on prompt {}: {flips} of {positions} flip, {} outside near-ties; continuations: {}; \
             negative log-likelihood {} nats per token ({} to {})",
            decision.prompt,
            decision.flips_outside_near_ties,
            fork(decision),
            number(decision.nll_difference),
            number(decision.nll_interval[0]),
            number(decision.nll_interval[1])
        );
    }
    for (what, sentences) in [("limit", &found.guards), ("ruled out", &found.ruled_out)] {
        for sentence in sentences.iter().take(ROWS) {
            _ = writeln!(text, "{what}: {sentence}");
        }
    }
    text
}

/// Two traces beside each other.
pub(crate) fn diff(rows: &[(String, Vec<usize>, Difference)], not_compared: &[String]) -> String {
    let mut text = format!(
        "{:44} {:>18}  {:>9}  {:>10}  {:>10}  {:>10}\n",
        "site", "shape", "equal", "mean |a-b|", "max |a-b|", "NaN, inf"
    );
    for (name, shape, d) in rows {
        let odd = if d.nonfinite == [0, 0] {
            String::new()
        } else {
            format!("{} | {}", d.nonfinite[0], d.nonfinite[1])
        };
        _ = writeln!(
            text,
            "{name:44} {:>18}  {:>9}  {:>10}  {:>10}  {odd:>10}",
            format!("{shape:?}"),
            percent(d.equal_fraction()),
            number(d.mean_abs()),
            number(d.max_abs)
        );
    }
    match rows.iter().find(|(_, _, d)| !d.identical()) {
        Some((name, ..)) => _ = writeln!(text, "\nfirst site that differs: {name}"),
        None => _ = writeln!(text, "\nno site differs: all {} are bit-equal", rows.len()),
    }
    if !not_compared.is_empty() {
        _ = writeln!(text, "not compared:");
        for what in not_compared {
            _ = writeln!(text, "  {what}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_comes_with_what_proves_it() {
        let run = RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap();
        let text = record(&run);
        for line in [
            "explained: Rounding of the rotary frequencies",
            "cause rotary-buffer-rounded  model.rotary_emb.inv_freq  b = round_bf16(a)",
            "  first seen model.rotary_emb.cos; proved both ways, to the bit",
            "  share of KL 100 %   intrinsic KL 3.500e-7 nats (f32)   floor 0.001520 nats, not above it",
            "origin model.rotary_emb.sin on prompt 0: 8 of 192 elements, expected 0; rms inf times the floor's; p 0",
            "limit: 3 tokens are too few",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
