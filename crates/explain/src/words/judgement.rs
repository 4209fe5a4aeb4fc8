//! The first screen of an explanation: a headline of at most 25 words, and rows.

use ulpscope_record::{Consequence, Judgement, Proof, Row, Size, Topic};

use super::short;
use crate::judgement::Facts;
use crate::thresholds::LEAST_KL;

/// The judgement, but for the names of the two models, which only the program knows.
pub(crate) fn judgement(facts: &Facts, arms: [&str; 2], rows: Vec<Row>) -> Judgement {
    let size = facts.size();
    let consequence = facts.consequence(&size);
    Judgement {
        consequence,
        severity: facts.severity(),
        proof: facts.proof(),
        compared: arms.map(str::to_owned),
        headline: headline(facts, consequence, &size, arms),
        size,
        rows,
    }
}

/// The judgement as one paragraph.
pub(crate) fn paragraph(judgement: &Judgement) -> String {
    let proof = match judgement.proof {
        Proof::Bits => Some("Proved both ways, to the bit.".to_owned()),
        Proof::BothWays => Some("Proved both ways.".to_owned()),
        _ => None,
    };
    let texts = judgement.rows.iter().map(|row| row.text.clone());
    std::iter::once(judgement.headline.clone()).chain(proof).chain(texts).collect::<Vec<_>>().join(" ")
}

/// One row.
pub(crate) fn row(topic: Topic, text: impl Into<String>) -> Row {
    Row { topic, text: text.into() }
}

fn headline(facts: &Facts, consequence: Consequence, size: &Size, [a, b]: [&str; 2]) -> String {
    let noise = beside_noise(size);
    let Size { flips, positions, clear_flips, kl, floor_kl, .. } = *size;
    match consequence {
        Consequence::ChangesOutput => match (facts.lost, clear_flips) {
            (Some([prompt, position]), _) => {
                let of = if size.prompts > 1 { format!(" of prompt {prompt}") } else { String::new() };
                format!(
                    "The logits of {b} are no numbers from position {position}{of} on, where those of {a} are."
                )
            }
            (None, 0) => format!(
                "{b} continues differently from token {} on, which noise does not explain; {noise}.",
                size.parts_at.unwrap_or(0)
            ),
            (None, clear) => {
                format!("{flips} of {positions} top tokens flip, {clear} of them clearly; {noise}.")
            }
        },
        Consequence::AboveNoise if positions == 0 => format!(
            "{} of {} sites that were compared differ by more than noise; no logits were.",
            facts.found.origins.len(),
            size.sites[0]
        ),
        Consequence::Noise if positions == 0 => {
            format!("None of the {} sites that were compared differs by more than noise.", size.sites[0])
        }
        Consequence::AboveNoise if clear_flips > 0 => {
            format!("{flips} of {positions} top tokens flip, {clear_flips} of them clearly; {noise}.")
        }
        Consequence::AboveNoise => format!("No top token flips clearly, but {noise}."),
        Consequence::Noise if facts.noise_alone && kl > floor_kl => format!(
            "Harmless: no operation differs by more than an order of summation or a function's last bits; KL {} has \
             accumulated.",
            short(kl)
        ),
        Consequence::Noise if floor_kl.is_nan() || kl <= LEAST_KL => {
            format!("Harmless here: no top token flips clearly, and KL is {}.", short(kl))
        }
        Consequence::Noise => format!(
            "Harmless here: no top token flips clearly, and KL {} is no more than other orders of summation make ({}).",
            short(kl),
            short(floor_kl)
        ),
        Consequence::Equal => equal(facts, size, [a, b]),
        _ if facts.blind => {
            format!("{a}, the reference, holds NaN or infinity: nothing can be held against it.")
        }
        _ if positions == 0 && size.sites[0] > 0 => {
            let [compared, asked] = size.sites;
            format!(
                "No difference at {compared} of {asked} sites; the others and the logits were not compared."
            )
        }
        _ if positions == 0 => "Nothing could be compared.".to_owned(),
        _ => format!(
            "Too few tokens to tell from noise: over {positions}, KL is {} and other orders of summation make up to {}.",
            short(kl),
            short(size.floor_most)
        ),
    }
}

/// What is equal, and of how much that is said.
fn equal(facts: &Facts, size: &Size, [a, b]: [&str; 2]) -> String {
    let what = if facts.recast { "numbers" } else { "bits" };
    let [compared, asked] = size.sites;
    let formats = if facts.recast { ", some in another format" } else { "" };
    if facts.differs || !facts.found.origins.is_empty() {
        return format!(
            "Every logit of {b} has the {what} of {a}{formats}, though what comes before differs."
        );
    }
    if compared == asked {
        return format!(
            "Every logit and every site that was compared has the same {what} in {b} as in {a}{formats}."
        );
    }
    format!(
        "Every logit of {b} has the {what} of {a}{formats}, and so have {compared} of {asked} sites; the others were not \
         compared."
    )
}

/// The KL, as a multiple of the noise where there is any.
fn beside_noise(size: &Size) -> String {
    let ratio = size.kl / size.floor_kl;
    match ratio.is_finite() {
        true => {
            format!("KL {} is {} times the noise ({})", short(size.kl), multiple(ratio), short(size.floor_kl))
        }
        false => format!("KL is {}", short(size.kl)),
    }
}

/// A multiple with two digits: `3.5`, `350`, `1.2e5`.
fn multiple(ratio: f64) -> String {
    let scale = 10f64.powf(ratio.abs().log10().floor() - 1.0).max(f64::MIN_POSITIVE);
    short(if ratio >= 10.0 { (ratio / scale).round() * scale } else { ratio })
}
