//! The top of the page: what was compared, the verdict, and three numbers.

use super::{code, table};
use crate::escape::text;
use ulpscope_record::summary::proved;
use ulpscope_record::text::{number, percent, shortened};
use ulpscope_record::{Arm, Cause, Direction, Explanation, Model, RunRecord, Status};

/// Which model it really was.
pub(super) fn title(record: &RunRecord) -> String {
    let model = &record.model;
    let experiment = record.settings.experiment.as_deref();
    let above =
        experiment.map_or("ulpscope".to_owned(), |name| format!("ulpscope · experiment {}", text(name)));
    let mut html = format!("<p class=\"above\">{above}</p>\n<h1>{}</h1>\n", text(&model.name));
    let revision = model.revision.as_deref().map_or(String::new(), |at| format!(", revision {}", code(at)));
    html += &format!("<p class=\"soft\">from {}{revision}</p>\n", text(&model.source.to_string()));
    if model.stand_in {
        html += "<p class=\"warning\">A stand-in: what was asked for first could not be had.";
        html += &model.unavailable.iter().map(|why| format!(" {}", text(why))).collect::<String>();
        html += "</p>\n";
    }
    html
}

/// Verdict, numbers and arms.
pub(super) fn section(record: &RunRecord) -> String {
    let (status, name) = match &record.explanation {
        Some(explanation) => (explanation.status.name(), explanation.status.name().replace('-', " ")),
        None => ("compared", "compared".to_owned()),
    };
    let verdict = match &record.explanation {
        Some(explanation) => text(&explanation.verdict),
        None => {
            format!("{} <code>ulpscope explain</code> finds out why, and proves it.", text(&finding(record)))
        }
    };
    let tiles = match &record.explanation {
        Some(explanation) => numbers(record, explanation),
        None => measured(record),
    };
    let tiles: String = (tiles.iter())
        .map(|[name, value, below]| {
            format!("<div class=\"tile\"><dt>{name}</dt><dd><strong>{value}</strong><span>{below}</span></dd></div>\n")
        })
        .collect();
    format!(
        "<section id=\"verdict\">\n<h2><span class=\"status {status}\">{name}</span></h2>\n\
         <p class=\"verdict\">{verdict}</p>\n<dl class=\"tiles\">\n{tiles}</dl>\n{}</section>\n",
        arms(record),
    )
}

/// What a comparison without an explanation has to say.
fn finding(record: &RunRecord) -> String {
    match record.first.iter().find_map(|first| Some((first, first.site.as_deref()?))) {
        Some((first, site)) => format!(
            "Arm {} parts from {} at {site} on prompt {}.",
            first.arm, record.arms[0].name, first.prompt
        ),
        None if record.first.is_empty() => "No activations were compared.".to_owned(),
        None => "No site that was observed differs.".to_owned(),
    }
}

/// Proved or not, intrinsic size, noise floor.
fn numbers(record: &RunRecord, explanation: &Explanation) -> Vec<[String; 3]> {
    let Some(cause) = explanation.causes.first() else {
        let mut tiles = measured(record);
        let proof = match explanation.status {
            Status::NoDifference => "nothing to prove",
            _ => "no cause was proved",
        };
        tiles[0] = ["Proved".to_owned(), "–".to_owned(), proof.to_owned()];
        return tiles;
    };
    if explanation.cancels_out() {
        return cancelled(record, explanation, cause);
    }
    let others = match explanation.causes.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    let proof = match (cause.necessary, cause.sufficient) {
        (true, true) => "yes",
        (false, false) => "no",
        _ => "one way",
    };
    let [flips, positions] = cause.intrinsic_flips;
    let size = format!("computed in {}; flips {flips} of {positions} tokens", text(&cause.intrinsic_compute));
    vec![
        [
            "Proved".to_owned(),
            proof.to_owned(),
            format!("{}: {}{others}", text(proved(cause)), code(&cause.subject)),
        ],
        if cause.intrinsic_kl.is_nan() {
            [INTRINSIC.to_owned(), "–".to_owned(), "not measured".to_owned()]
        } else {
            [INTRINSIC.to_owned(), nats(cause.intrinsic_kl), size]
        },
        [FLOOR.to_owned(), nats(cause.floor_kl), above(record, explanation, cause)],
    ]
}

const INTRINSIC: &str = "Intrinsic size, KL";
const FLOOR: &str = "Noise floor, KL";

fn nats(value: f64) -> String {
    format!("{} <small>nats</small>", text(&number(value)))
}

/// Of an equivalent rewriting the parts have sizes, and the whole has none.
fn cancelled(record: &RunRecord, explanation: &Explanation, cause: &Cause) -> Vec<[String; 3]> {
    let wide = |direction: Direction| -> Vec<f64> {
        let runs = explanation.counterfactuals.iter();
        let runs = runs.filter(|run| run.direction == direction && run.compute == cause.intrinsic_compute);
        runs.map(|run| run.kl).collect()
    };
    let (together, parts) = (wide(Direction::Neither), wide(Direction::Injected));
    let mean = together.iter().sum::<f64>() / together.len() as f64;
    let most = parts.into_iter().reduce(f64::max);
    let most = most.map_or(String::new(), |most| format!("; parts alone up to {}", text(&number(most))));
    vec![
        [
            "Fault".to_owned(),
            "none".to_owned(),
            format!("things that differ cancel out: {}", explanation.causes.len()),
        ],
        [
            INTRINSIC.to_owned(),
            if together.is_empty() { "–".to_owned() } else { nats(mean) },
            format!("all together, in {}{most}", text(&cause.intrinsic_compute)),
        ],
        [FLOOR.to_owned(), nats(cause.floor_kl), above(record, explanation, cause)],
    ]
}

fn above(record: &RunRecord, explanation: &Explanation, cause: &Cause) -> String {
    let most = record.logits.iter().filter(|logits| logits.arm == explanation.arm).map(|logits| logits.kl);
    let measured = most.fold(f64::NAN, f64::max);
    let measured = if measured.is_nan() { String::new() } else { format!("measured {}; ", number(measured)) };
    let place = match explanation.onset {
        Some(position) => format!("above the floor from position {position} on"),
        None if cause.exceeds_floor => "above the floor".to_owned(),
        None => "not above the floor".to_owned(),
    };
    text(&(measured + &place))
}

/// How far apart the logits are, where no cause is known.
fn measured(record: &RunRecord) -> Vec<[String; 3]> {
    let worst = record.logits.iter().max_by(|a, b| a.kl.total_cmp(&b.kl));
    let Some(worst) = worst else {
        return vec![["Logits".to_owned(), "–".to_owned(), "were not compared".to_owned()]; 1];
    };
    let of = format!("arm {} on prompt {}", text(&shortened(&worst.arm, 30)), worst.prompt);
    vec![
        ["Bit-equal logits".to_owned(), percent(worst.equal), of.clone()],
        ["KL".to_owned(), format!("{} <small>nats</small>", number(worst.kl)), format!("{of}, the largest")],
        ["Same most likely token".to_owned(), percent(worst.top1_agreement), "of positions".to_owned()],
    ]
}

fn arms(record: &RunRecord) -> String {
    let model =
        |arm: &Arm| arm.model.as_ref().map_or("the same".to_owned(), |model: &Model| text(&model.name));
    let rows: Vec<Vec<String>> = (record.arms.iter().enumerate())
        .map(|(index, arm)| {
            let reference = if index == 0 { " <small>reference</small>" } else { "" };
            let variants = arm.variants.iter().map(|variant| format!("@{variant}")).collect::<String>();
            vec![
                format!("{}{reference}", text(&arm.name)),
                code(&(arm.recipe.clone() + &variants)),
                text(&arm.attention),
                text(&arm.dtype),
                text(&arm.accumulation),
                if index == 0 { text(&record.model.name) } else { model(arm) },
            ]
        })
        .collect();
    table("Arms", &["arm", "recipe", "attention", "format", "order of summation", "model"], &rows, "No arms.")
}
