//! Tables for people, drawn from a record alone.

use std::fmt::Write;

use ulpscope_record::summary::{Start, bisected, block, fork, measured, notes, proved, start};
use ulpscope_record::text::{number, percent, plural, shortened, shown, wrapped};
use ulpscope_record::{Arm, Buffer, Explanation, Model, RunRecord, SiteDivergence, Weights};

use crate::colour::{ALARM, BOLD, Ink};
use crate::commands::diff::Found;
use crate::torch;

/// Differing tensors that are listed one by one.
const ROWS: usize = 20;
/// Width that sentences are wrapped to.
const COLUMNS: usize = 80;

/// A sentence, of which further lines are indented.
fn prose(text: &str) -> String {
    wrapped(text, COLUMNS - 2).join("\n  ") + "\n"
}

/// Everything a run found, as text.
pub(crate) fn record(record: &RunRecord, ink: Ink) -> String {
    let mut text = model(&record.model);
    text += &arms(&record.arms);
    for (i, prompt) in record.prompts.iter().enumerate() {
        let shown = prompt
            .text
            .as_ref()
            .map_or_else(|| prompt.unnamed().to_owned(), |t| format!("{:?}", shortened(t, 60)));
        let ids = shortened(&format!("{:?}", prompt.ids), 60);
        _ = writeln!(text, "prompt {i}: {shown}, {} tokens {ids}", prompt.ids.len());
    }
    notes(record).iter().for_each(|said| text += &prose(said));
    if record.settings.traces.is_empty() {
        text += &weights(&record.arms, &record.weights, &record.buffers, ink);
    }
    for prompt in 0..record.prompts.len() {
        for arm in &record.arms[1..] {
            text += &logits(record, arm, prompt);
            text += &layers(record, arm, prompt);
            text += &origin(record, arm, prompt, ink);
        }
    }
    text += &record.explanation.as_ref().map_or(String::new(), |found| explanation(found, ink));
    if !record.coverage.not_compared.is_empty() {
        text += "\nnot compared\n";
        for what in &record.coverage.not_compared {
            text += &prose(&format!("- {what}"));
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
            text += &prose(&format!("- {reason}"));
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
pub(crate) fn weights(arms: &[Arm], weights: &Weights, buffers: &[Buffer], ink: Ink) -> String {
    let mut text = match weights.compared {
        0 => "\nweights: none were compared\n".to_owned(),
        compared => format!(
            "\nweights: {} of {compared} tensors of the state dict identical in every arm ({})\n",
            weights.identical,
            percent(weights.identical as f64 / compared as f64)
        ),
    };
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
                    "{}  max |a-b| {} (relative {})  {relation}",
                    ink.paint(ALARM, "DIFFERENT"),
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
        let [a, b] = l.nonfinite;
        _ = writeln!(text, "NaN or infinite logits: {a} | {b}; means are of the others");
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
            "{n:>7}  {:>12} {:>14}  {:>10}  {:>9}{}",
            number(d.mean_abs),
            rounded(d.mean_abs, &arm.dtype),
            number(d.max_abs),
            percent(d.equal),
            not_finite(s)
        );
    }
    if any { text } else { String::new() }
}

/// Behind a row of numbers that leave out what is none in the reference.
fn not_finite(site: &SiteDivergence) -> &'static str {
    if site.is_blind() { "  a not finite" } else { "" }
}

/// Where it starts: the first site, the sites that introduce most, and the sites of layer 0 one by
/// one.
fn origin(record: &RunRecord, arm: &Arm, prompt: usize, ink: Ink) -> String {
    let mut text = String::new();
    let outside = |site: &str| !site.starts_with("model.layers.");
    let of_first = |site: &str| site == "model.layers.0" || site.starts_with("model.layers.0.");
    let inside: Vec<_> = of(record, arm, prompt).filter(|s| outside(&s.site) || of_first(&s.site)).collect();
    if !inside.is_empty() {
        text += "\nsites outside the blocks and in layer 0: accumulated, and introduced on the\nreference's inputs\n";
        _ = writeln!(
            text,
            "  {:42} {:>9}  {:>10}  {:>10}    {:>9}  {:>10}",
            "", "equal", "mean |a-b|", "max |a-b|", "equal", "mean |a-b|"
        );
        for s in inside {
            let (d, i) = (&s.difference, &s.introduced);
            _ = writeln!(
                text,
                "  {:42} {:>9}  {:>10}  {:>10}    {:>9}  {:>10}{}",
                s.site,
                percent(d.equal),
                number(d.mean_abs),
                number(d.max_abs),
                percent(i.equal),
                number(i.mean_abs),
                not_finite(s)
            );
        }
    }
    let first = start(record, &arm.name, prompt);
    let compared = of(record, arm, prompt).count();
    let asked = asked(record, compared);
    text += &match first {
        Start::At(site) => format!("\n{} {site}\n", ink.paint(BOLD, "first site that differs:")),
        Start::Blind { blind, first, .. } => format!(
            "\n{} the reference holds NaN or infinity at {blind} of {compared} sites, from {first} on\n",
            ink.paint(BOLD, "undecided:")
        ),
        Start::Unseen => {
            format!("\n{} of the {asked} sites was compared\n", ink.paint(BOLD, "no site looked at: none"))
        }
        Start::Nowhere(_) if compared == asked => {
            let title = ink.paint(BOLD, "no site differs:");
            let formats = [&record.arms[0].dtype, &arm.dtype];
            let same = match formats[0] == formats[1] {
                true => "bit-equal".to_owned(),
                false => format!("the same number in {} and in {}", formats[0], formats[1]),
            };
            format!("\n{title} every activation is {same}, at all {compared} sites\n")
        }
        Start::Nowhere(_) => {
            let said = format!("at the {compared} that were compared, of {asked}");
            format!("\n{} {said}\n", ink.paint(BOLD, "no site differs"))
        }
    };
    if compared == 0 {
        return text;
    }
    let introducing: Vec<_> = of(record, arm, prompt).filter(|s| s.introduced.equal < 1.0).collect();
    let names: Vec<_> = (introducing.iter().take(6))
        .map(|s| format!("{} ({} of elements)", s.site, percent(1.0 - s.introduced.equal)))
        .collect();
    let said = match introducing.len() {
        0 => format!("none of the {compared} that were compared"),
        all if all > names.len() => format!("{}, and {} more", names.join(", "), all - names.len()),
        _ => names.join(", "),
    };
    text + &prose(&format!("sites that introduce a difference on equal inputs: {said}"))
}

/// Sites that were to be compared of one arm on one prompt. The record counts them for all
/// together.
fn asked(record: &RunRecord, compared: usize) -> usize {
    let runs = record.prompts.len() * record.arms.len().saturating_sub(1);
    record.coverage.sites.checked_div(runs).unwrap_or(0).max(compared)
}

/// The verdict, and in a line each what stands behind it.
fn explanation(found: &Explanation, ink: Ink) -> String {
    let status = found.status.name().replace('-', " ") + ":";
    let verdict = prose(&format!("{status} {}", found.verdict));
    let mut text = format!("\n{}", verdict.replacen(&status, &ink.paint(BOLD, &status), 1));
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
            text += &prose(&format!("- {}", cause.remedy));
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
        text += &prose(&format!("halving: {}", bisected(found)));
    }
    for decision in found.decisions.iter().take(ROWS) {
        let [flips, positions] = decision.flips;
        text += &prose(&format!(
            "decisions on prompt {}: {flips} of {positions} flip, {} outside near-ties; continuations: {}; \
             negative log-likelihood {} nats per token ({} to {})",
            decision.prompt,
            decision.flips_outside_near_ties,
            fork(decision),
            number(decision.nll_difference),
            number(decision.nll_interval[0]),
            number(decision.nll_interval[1])
        ));
    }
    for (what, sentences) in [("limit", &found.guards), ("ruled out", &found.ruled_out)] {
        for sentence in sentences.iter().take(ROWS) {
            text += &prose(&format!("{what}: {sentence}"));
        }
    }
    text
}

/// Two traces beside each other: where the difference jumps, or with `all` every site.
pub(crate) fn diff(found: &Found, all: bool) -> String {
    let mut text = String::new();
    if all {
        text += &every_site(found);
    }
    let [equal, recast, differ, absent] = found.counts();
    let compared = equal + recast + differ;
    let same = match recast {
        0 => String::new(),
        _ => format!(", {recast} equal in another format"),
    };
    _ = writeln!(
        text,
        "{compared} of {} sites compared: {equal} bit-equal{same}, {differ} differ; {absent} not compared",
        compared + absent
    );
    for (key, [a, b]) in &found.about {
        let [a, b] = [a, b].map(|text| shown(&shortened(text, 60)));
        _ = writeln!(text, "{} differs: \"{a}\" and \"{b}\"", shown(key));
    }
    if let Some((count, first, [a, b])) = found.other_formats() {
        _ = writeln!(
            text,
            "formats differ at {}: {first} is in {a} and in {b}; one rounding to the coarser makes no jump",
            plural(count, "site")
        );
    }
    if let Some(first) = found.odd.first() {
        let sites = plural(found.odd.len(), "site");
        _ = writeln!(
            text,
            "a holds NaN or infinity at {sites}, first at {first}: nothing is equal next to those"
        );
    }
    match (found.first(), found.jumps.first()) {
        (None, _) if equal == compared + absent && found.odd.is_empty() => {
            _ = writeln!(text, "no site differs: all {equal} are bit-equal");
        }
        (None, _) => {
            let (judged, all) = (compared - found.odd.len(), compared + absent);
            _ = writeln!(text, "no difference at the {judged} sites that could be judged, of {all}");
        }
        (Some(first), Some(jump)) if jump.site == first => {
            _ = writeln!(text, "first site that differs: {first}");
        }
        (Some(first), jump) => {
            _ = writeln!(
                text,
                "first site that differs: {first}, by single steps of the format: an order of summation makes such \
                 differences, and what follows inherits them"
            );
            match jump {
                Some(jump) => _ = writeln!(text, "first site beyond that: {}", jump.site),
                None => {
                    text += "no site is beyond what an order of summation makes and later sites inherit\n"
                }
            }
        }
    }
    if !found.jumps.is_empty() {
        _ = writeln!(text, "\n{:44} {:>11}  {:>11}  {:>8}", "jump at", "|a-b| / |a|", "inherited", "times");
        for jump in found.jumps.iter().take(JUMPS) {
            let times =
                if jump.times().is_finite() { format!("{:.1}", jump.times()) } else { "-".to_owned() };
            let (relative, inherited) = (number(jump.relative), number(jump.inherited));
            _ = writeln!(text, "{:44} {relative:>11}  {inherited:>11}  {times:>8}", jump.site);
        }
        if found.jumps.len() > JUMPS {
            _ = writeln!(text, "  and {} more", found.jumps.len() - JUMPS);
        }
        text += "\n";
    }
    if let Some(logits) = &found.logits {
        let positions = logits.positions.len();
        let odd = logits.positions.iter().filter(|position| position.kl.is_nan()).count();
        let more = if odd > 0 { format!("; {odd} hold NaN or infinity") } else { String::new() };
        _ = writeln!(
            text,
            "logits: KL(a || b) {} nats, at most {}; same most likely token at {} of {positions} positions{more}",
            number(logits.mean_kl),
            number(logits.max_kl),
            positions - Found::flips(logits)
        );
    }
    for (holder, names) in ["a", "b"].into_iter().zip(&found.only_in).filter(|(_, names)| !names.is_empty()) {
        let shown: Vec<&str> = names.iter().take(ALONE).map(String::as_str).collect();
        let more =
            if names.len() > ALONE { format!(" and {} more", names.len() - ALONE) } else { String::new() };
        _ = writeln!(
            text,
            "not compared, only in {holder}: {} sites: {}{more}",
            names.len(),
            shown.join(", ")
        );
    }
    for what in &found.not_compared {
        _ = writeln!(text, "not compared: {what}");
    }
    if differ > 0 {
        text +=
            "why: `ulpscope explain MODEL --trace FILE` judges every operation on the trace's own inputs\n";
    }
    text
}

/// Jumps that are listed.
const JUMPS: usize = 8;
/// Sites of one trace alone that are named.
const ALONE: usize = 4;

fn every_site(found: &Found) -> String {
    let mut text = format!(
        "{:44} {:>18}  {:>9}  {:>10}  {:>10}  {:>11}  {:>10}\n",
        "site", "shape", "equal", "mean |a-b|", "max |a-b|", "|a-b| / |a|", "NaN, inf"
    );
    for (one, (shape, d)) in found.sites.iter().zip(&found.rows) {
        let odd = if d.nonfinite == [0, 0] {
            String::new()
        } else {
            format!("{} | {}", d.nonfinite[0], d.nonfinite[1])
        };
        _ = writeln!(
            text,
            "{:44} {:>18}  {:>9}  {:>10}  {:>10}  {:>11}  {odd:>10}",
            one.site,
            format!("{shape:?}"),
            percent(d.equal_fraction()),
            number(d.mean_abs()),
            number(d.max_abs),
            number(one.relative)
        );
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_comes_with_what_proves_it() {
        let run = RunRecord::from_json(include_str!("../../record/tests/explained.json")).unwrap();
        let text = record(&run, Ink::PLAIN);
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

    #[test]
    fn nothing_is_said_of_sites_that_were_not_compared() {
        let mut run = RunRecord::from_json(include_str!("../../record/tests/small.json")).unwrap();
        run.first.iter_mut().for_each(|first| first.site = None);
        run.sites.iter_mut().for_each(|site| site.introduced.equal = 1.0);
        let count = run.sites.len();
        let said = |run: &RunRecord| origin(run, &run.arms[1], 0, Ink::PLAIN);
        run.coverage.sites = count;
        assert!(said(&run).contains(&format!("every activation is bit-equal, at all {count} sites")));
        run.coverage.sites = count + 1;
        assert!(said(&run).contains(&format!("at the {count} that were compared, of {}", count + 1)));
        run.sites.clear();
        let none = said(&run);
        assert!(none.contains("no site looked at") && !none.contains("bit-equal"), "{none}");
        run.coverage.sites = 0;
        assert!(!said(&run).contains("bit-equal"));
    }
}
