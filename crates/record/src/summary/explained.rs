//! The section of a page that is about the explanation: verdict first, then what stands behind it.

use super::{Page, ROWS, code, escape};
use crate::explanation::{Bisection, Cause, Decision, Explanation};
use crate::schema::RunRecord;
use crate::text::{number, percent, shortened};

pub(super) fn section(page: &mut Page, record: &RunRecord, explanation: &Explanation) {
    page.section("Causes");
    causes(page, explanation);
    origins(page, explanation);
    decisions(page, record, explanation);
    let sentences = |page: &mut Page, title: &str, sentences: &[String]| {
        if !sentences.is_empty() {
            page.line(format!("\n{title}"));
            page.list(sentences.iter().take(ROWS).map(|sentence| escape(sentence)));
            page.rest(sentences.len(), "sentences");
        }
    };
    sentences(page, "Limits of this verdict:", &explanation.guards);
    sentences(page, "Ruled out:", &explanation.ruled_out);
}

fn causes(page: &mut Page, explanation: &Explanation) {
    let additive = shares_add_up(explanation);
    let rows: Vec<_> = (largest_first(explanation).into_iter().take(ROWS))
        .map(|cause| {
            [
                code(&cause.id),
                code(&cause.subject),
                super::relation(cause.relation.as_deref()),
                cause.site.as_deref().map_or("–".into(), code),
                proved(cause).into(),
                if additive { percent(cause.kl_share) } else { "–".into() },
                measured(cause.intrinsic_kl, |kl| {
                    format!("{} ({})", number(kl), escape(&cause.intrinsic_compute))
                }),
                number(cause.floor_kl),
            ]
        })
        .collect();
    let head =
        ["cause", "subject", "relation", "first site", "proved", "share of KL", "intrinsic KL", "floor KL"];
    page.table(head, &rows, "No cause was proved.");
    page.rest(explanation.causes.len(), "causes");
}

/// The causes, the largest by itself first.
pub fn largest_first(explanation: &Explanation) -> Vec<&Cause> {
    let mut causes: Vec<&Cause> = explanation.causes.iter().collect();
    // What was not measured comes last, and what is alike stays in its order.
    let size = |cause: &Cause| if cause.intrinsic_kl.is_nan() { -1.0 } else { cause.intrinsic_kl };
    causes.sort_by(|a, b| size(b).total_cmp(&size(a)));
    causes
}

/// Whether the causes' shares of the KL are parts of a whole, and may be shown.
pub fn shares_add_up(explanation: &Explanation) -> bool {
    let shares = || explanation.causes.iter().map(|cause| cause.kl_share);
    let parts = shares().all(|share| (0.0..=1.0).contains(&share)) && shares().sum::<f64>() <= 1.05;
    parts && explanation.judgement.as_ref().is_none_or(|judgement| judgement.size.additive)
}

/// What kind of site it is: its name, without its layer.
///
/// ```
/// use ulpscope_record::summary::class_of;
///
/// assert_eq!(class_of("model.layers.12.mlp.down_proj"), "mlp.down_proj");
/// assert_eq!([class_of("model.layers.12"), class_of("model.norm")], ["block output", "model.norm"]);
/// ```
pub fn class_of(site: &str) -> &str {
    match site.strip_prefix("model.layers.").map(|rest| rest.split_once('.')) {
        Some(Some((_, class))) => class,
        Some(None) => "block output",
        None => site,
    }
}

/// In which directions a cause was proved, by running it.
///
/// ```
/// use ulpscope_record::{RunRecord, summary::proved};
///
/// let record = RunRecord::from_json(include_str!("../../tests/explained.json"))?;
/// let explanation = record.explanation.unwrap();
/// assert_eq!(proved(&explanation.causes[0]), "both ways, to the bit");
/// # Ok::<(), ulpscope_record::RecordError>(())
/// ```
pub fn proved(cause: &Cause) -> &'static str {
    match (cause.necessary, cause.sufficient) {
        (true, true) if cause.bit_equal => "both ways, to the bit",
        (true, true) => "both ways",
        (true, false) => "by restoring only",
        (false, true) => "by injecting only",
        (false, false) => "not by running it",
    }
}

/// A number in words, or that it was not measured.
///
/// ```
/// use ulpscope_record::{summary::measured, text::percent};
///
/// assert_eq!(measured(1.0, percent), "100 %");
/// assert_eq!(measured(f64::NAN, percent), "not measured");
/// ```
pub fn measured(value: f64, words: impl FnOnce(f64) -> String) -> String {
    if value.is_nan() { "not measured".to_owned() } else { words(value) }
}

fn origins(page: &mut Page, explanation: &Explanation) {
    let floor = &explanation.floor;
    if floor.orders.is_empty() {
        return;
    }
    page.line(format!(
        "\nSites that introduce more than {} other orders of summation do; false alarms anywhere: {}, over {} tests.\n",
        floor.orders.len(),
        number(floor.false_alarm_rate),
        floor.tests
    ));
    let rows: Vec<_> = (explanation.origins.iter().take(ROWS))
        .map(|origin| {
            let cause = origin.cause.and_then(|index| explanation.causes.get(index));
            let [differing, all] = origin.differing;
            [
                code(&origin.site),
                origin.prompt.to_string(),
                format!("{differing} of {all}"),
                number(origin.expected),
                number(origin.rms_ratio),
                number(origin.p_value),
                cause.map_or("–".into(), |cause| code(&cause.id)),
            ]
        })
        .collect();
    let head =
        ["origin", "prompt", "elements differing", "expected", "rms, multiple of the floor's", "p", "cause"];
    page.table(head, &rows, "No site does.");
    page.rest(explanation.origins.len(), "origins");
}

fn decisions(page: &mut Page, record: &RunRecord, explanation: &Explanation) {
    if explanation.decisions.is_empty() {
        return;
    }
    let [a, b] = [record.arms.first().map_or("a", |arm| arm.name.as_str()), &explanation.arm].map(escape);
    page.line(format!(
        "\nWhat it does to decisions; the difference is {b} minus {a} in nats per token, with its 95 % interval.\n"
    ));
    let rows: Vec<_> = (explanation.decisions.iter().take(ROWS))
        .map(|decision| {
            let [flips, positions] = decision.flips;
            let [low, high] = decision.nll_interval.map(number);
            [
                decision.prompt.to_string(),
                format!("{flips} of {positions}"),
                decision.flips_outside_near_ties.to_string(),
                escape(&fork(decision)),
                format!("{} ({low} to {high})", number(decision.nll_difference)),
            ]
        })
        .collect();
    let head = ["prompt", "flips", "outside near-ties", "greedy continuations", "neg. log-likelihood"];
    page.table(head, &rows, "");
    page.rest(explanation.decisions.len(), "prompts");
}

/// Where two greedy continuations part, in words.
///
/// ```
/// use ulpscope_record::{RunRecord, summary::fork};
///
/// let record = RunRecord::from_json(include_str!("../../tests/explained.json"))?;
/// let explanation = record.explanation.unwrap();
/// assert!(fork(&explanation.decisions[0]).starts_with("part at token 3 of 64, margin 0.06250 (a near-tie): “"));
/// # Ok::<(), ulpscope_record::RecordError>(())
/// ```
pub fn fork(decision: &Decision) -> String {
    // A model may say anything, line ends and a terminal's commands among it.
    let [a, b] = around_fork(decision).map(|text| shortened(&text.escape_debug().to_string(), 60));
    match decision.first_different_token {
        _ if decision.continued == 0 => "not compared".to_owned(),
        None => format!("the same for {} tokens", decision.continued),
        Some(token) => {
            let margin =
                decision.margin.map_or(String::new(), |margin| format!(", margin {}", number(margin)));
            let tie = match decision.near_tie {
                Some(true) => " (a near-tie)",
                Some(false) => " (no near-tie)",
                None => "",
            };
            format!("part at token {token} of {}{margin}{tie}: “{a}” | “{b}”", decision.continued)
        }
    }
}

/// Both continuations from shortly before they part on; as token ids where there is no text.
fn around_fork(decision: &Decision) -> [String; 2] {
    let [a, b] = &decision.continuations;
    if a.is_empty() && b.is_empty() {
        let from = decision.first_different_token.unwrap_or(0);
        let ids = |ids: &Vec<u32>| ids.iter().skip(from).map(u32::to_string).collect::<Vec<_>>().join(" ");
        return decision.continued_ids.each_ref().map(ids);
    }
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let skipped = common.saturating_sub(BEFORE_FORK);
    let tail = |text: &String| {
        let rest: String = text.chars().skip(skipped).collect();
        if skipped == 0 { rest } else { format!("…{rest}") }
    };
    [tail(a), tail(b)]
}

/// How the tensors that matter were found among many that differ, in words.
///
/// ```
/// use ulpscope_record::{Bisection, summary::bisected};
///
/// let found = Bisection {
///     tensors: 200, runs: 31, passes: 9, prompts: 1, tokens: 32, compute: "f32".into(), kl: 0.02,
///     named: vec![vec!["one".into()], vec!["other".into()]], named_kl: 0.02, rest_kl: 1e-9, spread: false,
/// };
/// assert_eq!(
///     bisected(&found),
///     "of 200 differing tensors, 2 matter: put into the reference they alone make KL 0.02000 of 0.02000, the others \
///      1.000e-9 (31 sets of tensors tried in f32, 9 passes, up to 32 tokens of 1 prompts)"
/// );
/// ```
pub fn bisected(found: &Bisection) -> String {
    let kl = number(found.kl);
    let tried = format!(
        "{} sets of tensors tried in {}, {} passes, up to {} tokens of {} prompts",
        found.runs, found.compute, found.passes, found.tokens, found.prompts
    );
    let tensors = found.tensors;
    match found.named.iter().map(Vec::len).sum::<usize>() {
        _ if found.spread => {
            format!(
                "{tensors} tensors differ, and what they do (KL {kl}) is spread over too many of them to name ({tried})"
            )
        }
        0 => format!("{tensors} tensors differ, and none of them matters (KL {kl}; {tried})"),
        many => format!(
            "of {tensors} differing tensors, {many} matter: put into the reference they alone make KL {} of {kl}, the \
             others {} ({tried})",
            number(found.named_kl),
            number(found.rest_kl)
        ),
    }
}

/// Characters that are shown before two continuations part.
const BEFORE_FORK: usize = 30;
