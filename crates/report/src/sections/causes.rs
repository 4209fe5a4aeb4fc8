//! Causes with their proofs, and what the divergence does to decisions.

use super::{code, or_dash, sentences, table};
use crate::escape::text;
use ulpscope_record::summary::{bisected, fork, measured, proved};
use ulpscope_record::text::{number, percent};
use ulpscope_record::{Counterfactual, Decision, Direction, Explanation, RunRecord};

/// Width of the bars' drawing, in its own units.
const WIDTH: f64 = 200.0;
/// Where bars begin: to the left of it lies zero, which a logarithm has no place for.
const ZERO: f64 = 12.0;

pub(super) fn section(record: &RunRecord) -> String {
    let Some(explanation) = &record.explanation else { return String::new() };
    let rows: Vec<Vec<String>> = (explanation.causes.iter())
        .map(|cause| {
            let [low, high] = cause.kl_share_interval.map(percent);
            let interval =
                if low == high { String::new() } else { format!(" <small>{low} to {high}</small>") };
            vec![
                format!("{}<br><small>{}</small>", code(&cause.id), text(&cause.title)),
                code(&cause.subject),
                or_dash(cause.relation.as_deref()),
                or_dash(cause.site.as_deref()),
                text(proved(cause)),
                measured(cause.kl_share, |share| percent(share) + &interval),
                measured(cause.intrinsic_kl, |kl| {
                    format!("{} <small>{}</small>", number(kl), text(&cause.intrinsic_compute))
                }),
                number(cause.floor_kl),
                text(&cause.remedy),
            ]
        })
        .collect();
    let head = [
        "cause",
        "subject",
        "relation",
        "first site",
        "proved",
        "#share of KL",
        "#intrinsic KL",
        "#floor KL",
        "what to do",
    ];
    let mut html = "<h2>Causes</h2>\n".to_owned();
    html += &table("Causes, the largest first", &head, &rows, "No cause was proved.");
    if let Some(found) = &explanation.bisection {
        html += &format!("<p>By halving: {}.</p>\n", text(&bisected(found)));
    }
    html += &counterfactuals(record, explanation);
    html += &origins(explanation);
    html += &truth(record, explanation);
    html += &sentences("Ruled out", &explanation.ruled_out);
    html + &sentences("What theory expects", &explanation.expected)
}

fn counterfactuals(record: &RunRecord, explanation: &Explanation) -> String {
    if explanation.counterfactuals.is_empty() {
        return String::new();
    }
    let positive = |kl: &f64| *kl > 0.0 && kl.is_finite();
    let floors = explanation.floor.logits.iter().map(|floor| floor.kl);
    let values: Vec<f64> =
        explanation.counterfactuals.iter().map(|run| run.kl).chain(floors).filter(positive).collect();
    let most = values.iter().copied().fold(1e-12, f64::max).log10().ceil();
    let least =
        values.iter().copied().fold(f64::INFINITY, f64::min).min(10f64.powf(most - 1.0)).log10().floor();
    let x = |kl: f64| ZERO + (kl.log10() - least) / (most - least) * (WIDTH - ZERO);
    let rows: Vec<Vec<String>> = (explanation.counterfactuals.iter())
        .map(|run| {
            let factor = match run.direction {
                Direction::Neither => "<em>as it is</em>".to_owned(),
                _ => code(&run.factor),
            };
            vec![
                factor,
                text(run.direction.name()),
                run.prompt.to_string(),
                text(&run.compute),
                bar(run, explanation, &x),
                number(run.kl),
                if run.bit_equal { "<strong>bit-equal</strong>".to_owned() } else { percent(run.equal) },
                number(run.max_abs),
            ]
        })
        .collect();
    let [a, b] = [&record.arms[0].name, &explanation.arm].map(|name| text(name));
    format!(
        "<h3>Counterfactuals</h3>\n<p><em>Restored</em>: {b} with {a}'s factor, compared with {a}. <em>Injected</em>: {a} \
         with {b}'s factor, compared with {b}; in a wider format with {a}, which shows what the factor does alone. Bars are \
         KL on a logarithmic scale from 10<sup>{least}</sup> to 10<sup>{most}</sup> nats; the grey band is the noise \
         floor, a ring at the left is exactly 0.</p>\n{}",
        table(
            "Runs with one factor exchanged",
            &["factor", "direction", "#prompt", "format", "KL", "#KL (nats)", "#bit-equal", "#max |Δ|"],
            &rows,
            ""
        )
    )
}

/// A bar for one table cell; the number beside it says the same.
fn bar(run: &Counterfactual, explanation: &Explanation, x: &dyn Fn(f64) -> f64) -> String {
    let floors: Vec<f64> = (explanation.floor.logits.iter())
        .filter(|floor| floor.prompt == run.prompt && floor.kl > 0.0 && floor.kl.is_finite())
        .map(|floor| floor.kl)
        .collect();
    let mut html = format!("<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 20\" aria-hidden=\"true\">");
    if !floors.is_empty() {
        let low = x(floors.iter().copied().fold(f64::INFINITY, f64::min)) - 1.0;
        let high = x(floors.iter().copied().fold(0.0, f64::max)) + 1.0;
        html += &format!(
            "<rect class=\"floor\" x=\"{low:.1}\" y=\"0\" width=\"{:.1}\" height=\"20\"/>",
            high - low
        );
    }
    let class = match run.direction {
        Direction::Restored => "s0",
        Direction::Injected => "s2",
        Direction::Neither => "s1",
    };
    html += &match run.kl {
        kl if kl > 0.0 && kl.is_finite() => {
            let width = (x(kl) - ZERO).max(1.0);
            format!("<rect class=\"{class}\" x=\"{ZERO}\" y=\"4\" width=\"{width:.1}\" height=\"12\"/>")
        }
        kl if kl.is_finite() => format!("<circle class=\"{class} ring\" cx=\"6\" cy=\"10\" r=\"4\"/>"),
        _ => format!("<path class=\"{class} cross\" d=\"M188 4 L198 16 M188 16 L198 4\"/>"),
    };
    html + "</svg>"
}

fn origins(explanation: &Explanation) -> String {
    let floor = &explanation.floor;
    if floor.orders.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = (explanation.origins.iter())
        .map(|origin| {
            let cause = origin.cause.and_then(|index| explanation.causes.get(index));
            let [differing, all] = origin.differing;
            vec![
                code(&origin.site),
                origin.prompt.to_string(),
                format!("{differing} of {all}"),
                number(origin.expected),
                number(origin.rms_ratio),
                number(origin.p_value),
                or_dash(cause.map(|cause| cause.id.as_str())),
            ]
        })
        .collect();
    let head = ["origin", "#prompt", "#elements differing", "#expected", "#rms / floor", "#p", "cause"];
    format!(
        "<h3>Origins</h3>\n<p>Sites that introduce more than {} other orders of summation do ({}). The probability that any \
         of {} tests names one by mistake is {}.</p>\n{}",
        floor.orders.len(),
        text(&floor.orders.join(", ")),
        floor.tests,
        number(floor.false_alarm_rate),
        table("Origins in forward order", &head, &rows, "No site does.")
    ) + &shapes(explanation)
}

/// What the shape of the computation alone changes.
fn shapes(explanation: &Explanation) -> String {
    let rows: Vec<Vec<String>> = (explanation.floor.shapes.iter())
        .map(|shape| {
            vec![
                text(&shape.what),
                shape.prompt.to_string(),
                shape.positions.to_string(),
                percent(shape.equal),
                number(shape.kl),
                number(shape.max_abs),
                percent(shape.top1_agreement),
            ]
        })
        .collect();
    let head = ["shape", "#prompt", "#positions", "#bit-equal logits", "#KL", "#max |Δ|", "#same top token"];
    table("What the shape alone changes in the reference's logits", &head, &rows, "")
}

fn truth(record: &RunRecord, explanation: &Explanation) -> String {
    let mut html = String::new();
    if let Some(truth) = &explanation.truth {
        let [a, b] = truth.kl.map(number);
        let nearer = truth
            .nearer
            .as_deref()
            .map_or("Neither is nearer".to_owned(), |arm| format!("Arm {arm} is nearer"));
        html += &format!(
            "<h3>Against the truth</h3>\n<p>{}: {} is KL {a} from it, {} is KL {b}, taking for the truth {}.</p>\n",
            text(&nearer),
            text(&record.arms[0].name),
            text(&explanation.arm),
            text(&truth.what)
        );
        if truth.intrinsic.iter().all(|kl| kl.is_finite()) {
            let [a, b] = truth.intrinsic.map(number);
            html += &format!(
                "<p>Computed as the truth is, without rounding in between, the two are KL {a} and {b} from it.</p>\n"
            );
        }
        html += &sentences("What both arms share and the truth does not", &truth.shared);
    }
    let s = &explanation.signatures;
    let yes = |yes: bool| if yes { "bit-equal" } else { "different" };
    let found = [
        s.position_0_equal.map(|equal| format!("Logits of position 0 are {}.", yes(equal))),
        s.shift_kl.map(|kl| format!("Shifting all positions changes the arm by KL {}.", number(kl))),
        s.growth_exponent
            .map(|e| format!("The intrinsic size grows as position to the power {}.", number(e))),
    ];
    html + &sentences("Signatures", &found.into_iter().flatten().collect::<Vec<_>>())
}

pub(super) fn decisions(record: &RunRecord) -> String {
    let Some(explanation) = record.explanation.as_ref().filter(|e| !e.decisions.is_empty()) else {
        return String::new();
    };
    let rows: Vec<Vec<String>> = (explanation.decisions.iter())
        .map(|decision| {
            let [flips, positions] = decision.flips;
            let [low, high] = decision.nll_interval.map(number);
            vec![
                decision.prompt.to_string(),
                format!("{flips} of {positions}"),
                decision.flips_outside_near_ties.to_string(),
                text(&fork(decision)),
                number(decision.nll_difference),
                format!("{low} to {high}"),
            ]
        })
        .collect();
    let head = [
        "#prompt",
        "#flips",
        "#outside near-ties",
        "greedy continuations",
        "#Δ nll per token",
        "#95 % interval",
    ];
    format!(
        "<h2>What it does to decisions</h2>\n<p>Flips of the most likely token, where greedy continuations part, and the \
         difference of the prompt's negative log-likelihood in nats per token, {} minus {}.</p>\n{}{}",
        text(&explanation.arm),
        text(&record.arms[0].name),
        table("Decisions by prompt", &head, &rows, ""),
        continuations(record, explanation)
    )
}

/// What both arms say after each prompt, one below the other, with the token marked at which they part.
fn continuations(record: &RunRecord, explanation: &Explanation) -> String {
    let arms = [&record.arms[0].name, &explanation.arm];
    let token = |id: &u32, class: &str| {
        let said =
            record.token_texts.get(id).map_or_else(|| format!("⟨{id}⟩"), |said| said.replace('\n', "⏎\n"));
        match class {
            "" => text(&said),
            class => format!("<mark class=\"{class}\" title=\"token {id}\">{}</mark>", text(&said)),
        }
    };
    let rows = |decision: &Decision| {
        let side = move |(arm, ids): (&&String, &Vec<u32>)| {
            let fork = decision.first_different_token;
            let class = |place: usize| if fork == Some(place) { "parts" } else { "" };
            let said: String = ids.iter().enumerate().map(|(place, id)| token(id, class(place))).collect();
            vec![decision.prompt.to_string(), text(arm), format!("<span class=\"token\">{said}</span>")]
        };
        arms.iter().zip(&decision.continued_ids).map(side).collect::<Vec<_>>()
    };
    let told = explanation.decisions.iter().filter(|d| !d.continued_ids[0].is_empty());
    let rows: Vec<Vec<String>> = told.clone().flat_map(rows).collect();
    if rows.is_empty() {
        return String::new();
    }
    let near = told.clone().filter(|d| d.near_tie == Some(true)).count();
    let parted = told.clone().filter(|d| d.first_different_token.is_some()).count();
    let context = told.clone().map(|d| d.context).max().unwrap_or(0);
    format!(
        "<h3>Greedy continuations</h3>\n<p>Both arms go on with their most likely token each time, from up to {context} tokens \
         at the end of the prompt. {parted} of {} part, at the token that is marked; {near} of those at a near-tie, a margin \
         that the order of summation alone could have crossed.</p>\n{}",
        told.count(),
        table("What both arms say", &["#prompt", "arm", "continuation"], &rows, "")
    )
}

/// A row for each arm and prompt, with what the logits come to.
pub(super) fn logit_rows(record: &RunRecord) -> Vec<Vec<String>> {
    (record.logits.iter())
        .map(|logits| {
            let [a, b] = logits.nonfinite;
            vec![
                text(&logits.arm),
                logits.prompt.to_string(),
                percent(logits.equal),
                number(logits.mean_abs),
                number(logits.max_abs),
                if logits.allclose { "yes" } else { "no" }.to_owned(),
                number(logits.kl),
                percent(logits.top1_agreement),
                format!("{a}, {b}"),
            ]
        })
        .collect()
}
