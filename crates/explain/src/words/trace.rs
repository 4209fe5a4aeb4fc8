//! What is known of a trace, in words.

use std::collections::BTreeMap;

use ulpscope_decoder::Site;
use ulpscope_record::text::plural;
use ulpscope_record::{Cause, Explanation, Row, Status, Subject, Topic};

use super::findings::{does, integers, relation};
use super::judgement::row;
use super::{LIMITS, LISTED, first_names, opening, short, wrong_shape};
use crate::layer_groups::{class, ranges};
use crate::trace::evidence::{Claim, Evidence};
use crate::trace::found::{Found, Shown, Unexplained};
use crate::trace::known::Known;
use crate::trace::pattern::{Likeness, Pattern};
use crate::trace::recorded::{Gap, Reason};

/// Elements that differ without a cause and do not with it, below which that may be chance: some
/// dozens of hypotheses are run.
const ENOUGH: u64 = 8;
/// What was ruled out: entries, and characters of what was tried in one.
const RULED_OUT: usize = 6;
const TRIED: usize = 500;

/// What a claim is about.
pub(crate) fn subject(claim: &Claim) -> String {
    match &claim.about {
        Subject::Buffer { name } | Subject::Setting { key: name } => name.clone(),
        Subject::Arithmetic { class } if class == "attention" => "attention implementation".to_owned(),
        Subject::Arithmetic { class } if class == "accumulation" => "order of summation".to_owned(),
        Subject::Arithmetic { class } => format!("arithmetic: {class}"),
        Subject::Tensors { .. } if claim.evidence.is("layers") => layers(&claim.evidence),
        Subject::Tensors { names } if claim.evidence.is("hold-each-other") && names.len() == 2 => {
            first_names(names)
        }
        Subject::Tensors { names } => in_layers(names),
        Subject::Sites { names } => match claim.evidence.finding() {
            read if read.rule == "reads" => format!("the input of {}", read.text("site").unwrap_or_default()),
            last if last.rule.starts_with("neighbours") => {
                format!(
                    "functions at {} and the like",
                    names.first().map_or(String::new(), |name| class(name))
                )
            }
            _ => format!("the output of {}", in_layers(names)),
        },
        _ => String::new(),
    }
}

/// Names, with their layers left open where the same name is there in several.
fn in_layers(names: &[String]) -> String {
    let mut classes: Vec<String> = Vec::new();
    for name in names.iter().map(|name| class(name)) {
        if !classes.contains(&name) {
            classes.push(name);
        }
    }
    if classes.len() == names.len() { first_names(names) } else { first_names(&classes) }
}

fn layers(evidence: &Evidence) -> String {
    let finding = evidence.finding();
    let layers = integers(&finding, "layers");
    match layers[..] {
        [one, other] => format!("layers {one} and {other}"),
        [one] => format!("layer {one}"),
        _ => format!("layers {}", ranges(layers)),
    }
}

/// What the trace does and what ours does, at all sites of a cause.
pub(crate) fn relation_of(found: &Found) -> String {
    let elsewhere = found.elsewhere.iter().map(|(site, evidence)| match evidence {
        Evidence::Fact(finding) => format!("; at {site} {}", does(finding)),
        Evidence::Related(statement) => format!("; at {site} {statement}"),
    });
    relation(&found.claim.evidence) + &elsewhere.collect::<String>()
}

fn claimed(claim: &Claim) -> String {
    format!("{} ({})", subject(claim), relation(&claim.evidence))
}

/// Why something of a trace is not compared.
pub(crate) fn gap(gap: &Gap) -> String {
    let Gap { trace, reason, names } = gap;
    let count = names.len();
    let listed = first_names(names);
    match reason {
        Reason::Foreign(attention) => {
            format!(
                "{trace} holds {} of no site of this model with {attention} attention: {listed}",
                plural(count, "tensor")
            )
        }
        Reason::Format => {
            format!("{trace} holds {} not in f64, f32, bf16 or f16: {listed}", plural(count, "tensor"))
        }
        Reason::Shape { tokens, first } => {
            let more =
                if count > 1 { format!(" and {} more", plural(count - 1, "site")) } else { String::new() };
            format!("{trace}: {}{more}", wrong_shape(&names[0], first, *tokens))
        }
        Reason::Absent(asked) => format!("{trace} lacks {count} of {}: {listed}", plural(*asked, "site")),
        Reason::Nonfinite => {
            format!(
                "{trace} holds NaN or infinity in inputs of {}, which can't be judged: {listed}",
                plural(count, "site")
            )
        }
        Reason::Unfounded => {
            format!("{trace} lacks what {count} of its sites read, so that they can't be judged: {listed}")
        }
    }
}

/// What was tried in vain, once for all layers, and what could not be ruled out.
pub(crate) fn ruled_out(known: &Known) -> Vec<String> {
    let mut kinds: BTreeMap<String, Vec<&Unexplained>> = BTreeMap::new();
    for unexplained in &known.outcome.unexplained {
        kinds.entry(class(&unexplained.site.to_string())).or_default().push(unexplained);
    }
    let mut kinds: Vec<(String, Vec<&Unexplained>)> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, sites)| sites[0].site);
    let vain = kinds.into_iter().map(|(kind, sites)| {
        let place = match &sites[..] {
            [only] => only.site.to_string(),
            [first, ..] => format!("{} sites {kind}, from {} on", sites.len(), first.site),
            [] => kind,
        };
        let tried = &sites[0].tried;
        let mut shown: Vec<String> = Vec::new();
        for claim in tried.iter().map(claimed) {
            if shown.iter().map(String::len).sum::<usize>() + claim.len() > TRIED {
                break;
            }
            shown.push(claim);
        }
        let more = if shown.len() < tried.len() { "; …" } else { "" };
        format!(
            "at {place}, {} hypotheses were run and none gives the trace's values: {}{more}",
            tried.len(),
            shown.join("; ")
        )
    });
    let tied = known.outcome.found.iter().filter(|f| !f.ties.is_empty()).map(|f| {
        format!(
            "not ruled out: instead of {} ({}), these give the same bits on these traces: {}",
            subject(&f.claim),
            relation_of(f),
            ties(f)
        )
    });
    let mut all: Vec<String> = vain.chain(tied).collect();
    if all.len() > RULED_OUT {
        let more = all.len() - (RULED_OUT - 1);
        all.truncate(RULED_OUT - 1);
        all.push(format!("and so at {more} more kinds of sites"));
    }
    all
}

fn ties(found: &Found) -> String {
    first_names(&found.ties.iter().map(claimed).collect::<Vec<String>>())
}

/// What limits the verdict.
pub(crate) fn guards(known: &Known) -> Vec<String> {
    let mut guards = vec![
        "A trace can't be run again: what is proved is that each operation of ours, changed as stated, gives the trace's \
         values on the trace's inputs; that the other program does just this, or that mending it would mend its logits, \
         is not shown by running it"
            .to_owned(),
    ];
    let gaps = known.recorded.missing.iter().chain(&known.recorded.besides);
    guards.extend(gaps.map(|what| format!("Not compared: {}", gap(what))));
    if known.recorded.references.iter().all(|reference| reference.ids.len() < 2) {
        guards.push(
            "No trace has more than one token: position 0 is not rotated and its softmax is 1, so that faults of \
             rotation, scale and mask can't show"
                .to_owned(),
        );
    }
    let unknown = known.judge.unknown_orders();
    if !unknown.is_empty() && known.differs() {
        guards.push(format!(
            "The trace's order of summation is not known at {}: there, what another order could have done counts as no \
             difference",
            first_names(&unknown)
        ));
    }
    for (order, tokens) in known.rows() {
        guards.push(format!(
            "The trace sums these tokens in {order} and others in {}, as libraries do that read some tokens alone; each \
             is judged in its own order: {}",
            known.arm.semantics.base.accumulation,
            ranges(tokens)
        ));
    }
    let alone = known.judge.alone();
    if !alone.is_empty() {
        guards.push(format!(
            "The trace sums these tokens in an order that is not known, and they are judged by the noise floor: {}",
            ranges(alone)
        ));
    }
    if known.shares.is_none() {
        guards.push(
            "The causes' shares of the divergence do not add up, because the causes act on each other: none is stated"
                .to_owned(),
        );
    }
    for f in known.outcome.found.iter().filter(|f| f.ran() && f.mended < ENOUGH) {
        guards.push(format!(
            "Few elements differ: {} ({}) rests on {} that differ without it; record a longer prompt to be sure",
            subject(&f.claim),
            relation_of(f),
            f.mended
        ));
    }
    let local = |f: &&Found| f.ran() && f.changes.iter().any(|change| !change.runs_free);
    let local: Vec<String> = known.outcome.found.iter().filter(local).map(|f| subject(&f.claim)).collect();
    if !local.is_empty() {
        guards.push(format!("At single operations only, and not in the free runs: {}", first_names(&local)));
    }
    guards
}

/// Where nothing but the order of summation differs.
fn another_order(known: &Known) -> String {
    let compared = known.sites.len();
    let equal = known.sites.iter().filter(|s| s.introduced.equal == 1.0).count();
    let ours = known.arm.semantics.base.accumulation;
    let of_rows = |(order, tokens): (String, _)| format!("tokens {} in {order}", ranges(tokens));
    let rows: Vec<String> = known.rows().into_iter().map(of_rows).collect();
    let orders = match rows.is_empty() {
        true => String::new(),
        false => format!("with {}, others in {ours}, ", rows.join(", ")),
    };
    format!(
        "No fault, another order of summation: {orders}{equal} of {compared} operations of ours have the trace's bits, \
         and none differs by more than noise."
    )
}

/// What is known, as rows of a judgement.
pub(crate) fn rows(known: &Known, found: &Explanation, status: Status) -> Vec<Row> {
    let compared = known.sites.len();
    let mut rows: Vec<Row> = Vec::new();
    if found.status == Status::Incomplete {
        let missing: Vec<String> = known.recorded.missing.iter().map(gap).collect();
        let text = format!(
            "Incomplete: {} of {} sites could not be compared ({}). What could be:",
            known.recorded.asked.saturating_sub(compared),
            known.recorded.asked,
            missing.join("; ")
        );
        rows.push(row(Topic::Cause, text));
    }
    match status {
        _ if compared == 0 => rows.push(row(Topic::Cause, "nothing.")),
        Status::NoDifference => rows.push(row(
            Topic::Cause,
            format!(
                "No difference: on the trace's inputs, each of the {compared} operations of ours has the trace's {}.",
                if known.recast() { "numbers" } else { "bits" }
            ),
        )),
        Status::Incomplete => {}
        Status::Explained if found.origins.is_empty() => {
            rows.push(row(Topic::Cause, another_order(known)));
        }
        Status::Explained | Status::Unexplained => {
            rows.extend(first_site(known, found).map(|text| row(Topic::Where, text)));
            rows.extend(causes(known, found).into_iter().map(|text| row(Topic::Cause, text)));
        }
    }
    rows.extend(known.recorded.notes.iter().map(|note| row(Topic::Cause, note.to_string())));
    if known.differs() {
        rows.extend(size(known).into_iter().map(|text| row(Topic::Cause, text)));
    }
    let kinds = known.outcome.found.iter().map(|f| f.claim.kind);
    let mut remedies: Vec<&str> = kinds.filter(|kind| kind.is_defect()).map(|kind| kind.remedy).collect();
    remedies.dedup();
    if remedies.is_empty() && status == Status::Explained && !found.origins.is_empty() {
        remedies.push("This is a choice that both sides are free to make, not a fault.");
    }
    rows.extend(remedies.into_iter().take(LISTED).map(|text| row(Topic::Fix, text)));
    rows.extend(found.guards.iter().skip(1).take(LIMITS).map(|text| row(Topic::Limit, format!("{text}."))));
    rows
}

/// The rows as a paragraph, without what limits them.
pub(crate) fn paragraph(rows: &[Row]) -> String {
    let shown = rows.iter().filter(|row| row.topic != Topic::Limit);
    shown.map(|row| row.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Where it starts. Last bits of functions are in all that another library computes.
fn first_site(known: &Known, explanation: &Explanation) -> Option<String> {
    let last_bits = |site: &str| {
        let mut all = known.outcome.found.iter().filter(|f| f.shown == Shown::LastBits);
        all.any(|f| f.sites.iter().any(|known| known.to_string() == site))
    };
    let origins = || explanation.origins.iter();
    let origin = origins().find(|o| !last_bits(&o.site)).or_else(|| origins().next())?;
    let [differing, of] = origin.differing;
    Some(format!(
        "First site that differs on the trace's inputs: {} ({differing} of {of} elements).",
        origin.site
    ))
}

/// Each cause, and what has none.
fn causes(known: &Known, explanation: &Explanation) -> Vec<String> {
    let mut sentences: Vec<String> = Vec::new();
    let found = &known.outcome.found;
    let count = found.len();
    for (i, (f, cause)) in found.iter().zip(&explanation.causes).take(LISTED).enumerate() {
        let number = if count > 1 { format!("({} of {count}) ", i + 1) } else { String::new() };
        sentences.push(number + &opening(&cause_sentences(f, cause)));
    }
    if count > LISTED {
        sentences.push(format!("And {} more.", count - LISTED));
    }
    let unexplained = &known.outcome.unexplained;
    if let Some(first) = unexplained.first() {
        let sites: Vec<String> = unexplained.iter().map(|u| u.site.to_string()).collect();
        let place = first.place.as_ref();
        let place = place.map_or(String::new(), |p| format!("; of ours (a) and the trace's (b): {p}"));
        sentences.push(format!(
            "No known cause accounts for {}; at {}, {}{place}{}.",
            first_names(&sites),
            first.site,
            pattern(&first.pattern),
            first.short_of.map_or(String::new(), |tokens| format!(
                "; {tokens} tokens are too few to see an update of low rank, a longer prompt would tell"
            ))
        ));
    }
    sentences
}

/// One cause: what it is, where it holds, and how far that was shown.
fn cause_sentences(f: &Found, cause: &Cause) -> String {
    let named = format!("{} ({}: {})", cause.title, cause.subject, relation_of(f));
    let sites: Vec<String> = f.sites.iter().map(Site::to_string).collect();
    let place = match &sites[..] {
        [] => String::new(),
        [only] => format!(" at {only}"),
        [first, ..] if sites.iter().all(|site| class(site) == class(first)) => {
            format!(" at {} sites, {}, from {first} on", sites.len(), class(first))
        }
        [first, ..] => format!(" at {} sites from {first} on", sites.len()),
    };
    let ties = match f.ties.is_empty() {
        true => String::new(),
        false => format!(" So it has with {}: these traces can't tell them apart.", ties(f)),
    };
    format!("{named}{place}. {}{ties}", proof(f))
}

/// How a cause was shown to be one.
fn proof(f: &Found) -> String {
    let how = match &f.claim.about {
        Subject::Tensors { names } if names.len() == 1 => "with that tensor",
        Subject::Tensors { .. } => "with those tensors",
        _ => "so",
    };
    match (f.shown, f.equal.len()) {
        (Shown::LastBits, _) => {
            "Not shown by running it: recognised by the number and size of the differences.".to_owned()
        }
        (Shown::Formula, _) => {
            "Not shown by running the model: the formula, evaluated on the trace's inputs, gives its values but for \
             roundings."
                .to_owned()
        }
        (Shown::Values, _) => {
            "Not shown by running it: read off the values that were recorded there.".to_owned()
        }
        (Shown::Nearly, _) => format!(
            "Computed {how} on the trace's inputs, ours differs there by no more than the last bits of the function, in \
             which two honest libraries differ."
        ),
        (Shown::Run, all) if all == f.sites.len() => {
            format!("Proved for the trace: computed {how} on its inputs, ours has its bits there.")
        }
        (Shown::Run, 0) => format!(
            "Computed {how} on the trace's inputs, ours differs there by no more than an order of summation makes it."
        ),
        (Shown::Run, some) => format!(
            "Computed {how} on the trace's inputs, ours has its bits at {some} of them, and differs at the others by no \
             more than an order of summation makes it."
        ),
    }
}

/// How the trace's values differ from ours where no cause is known.
fn pattern(pattern: &Pattern) -> String {
    let [differing, all] = pattern.differing;
    let mut parts = vec![format!("{differing} of {all} elements differ")];
    let (touched, width) = &pattern.channels;
    if touched.len() < *width {
        let names: Vec<String> = touched.iter().take(6).map(usize::to_string).collect();
        let more = if touched.len() > 6 { ", …" } else { "" };
        parts.push(format!("in {} of {width} channels ({}{more})", touched.len(), names.join(", ")));
    }
    let [rows, all_rows] = pattern.rows;
    if rows < all_rows {
        parts.push(format!("in {rows} of {all_rows} rows"));
    }
    let [theirs, ours] = pattern.nonfinite;
    if theirs + ours > 0 {
        parts.push(format!("{theirs} numbers of the trace's and {ours} of ours are NaN or infinite"));
    }
    match pattern.likeness {
        Likeness::Multiple { factor, left } => {
            parts.push(format!("the trace's is about {factor:.4} times ours, to {:.1} %", 100.0 * left));
        }
        Likeness::Cosine(cosine) if cosine.abs() < 0.1 => {
            parts.push(format!("the two have nothing to do with each other (cosine {cosine:.3})"));
        }
        Likeness::Cosine(cosine) => parts.push(format!("cosine {cosine:.4}")),
        Likeness::Zero => parts.push("the trace's is zero".to_owned()),
        Likeness::Unknown => {}
    }
    parts.join("; ")
}

/// What has accumulated at the logits.
fn size(known: &Known) -> Vec<String> {
    let [own, with] = known.account.accumulated();
    let Some(own) = own else { return vec!["The trace has no logits to compare.".to_owned()] };
    let noise = match known.floor_kl > 0.0 {
        true => format!("; noise floor of the arithmetic {}", short(known.floor_kl)),
        false => String::new(),
    };
    let mut sentences = vec![format!("Accumulated at the logits: KL {}{noise}.", short(own))];
    let whole = |f: &&Found| !f.changes.is_empty() && f.changes.iter().all(|change| change.runs_free);
    let mut defects = known.outcome.found.iter().filter(|f| f.claim.kind.is_defect());
    let what = if defects.all(|f| whole(&f)) { "all of that" } else { "what of that holds throughout" };
    match with {
        Some(_) if known.account.bit_equal() => {
            sentences.push(format!("Ours, run freely with {what}, has every bit of the trace's logits."));
        }
        Some(with) => {
            let explained = known.outcome.unexplained.is_empty();
            let rest = if explained { "" } else { "; the rest is not explained" };
            sentences.push(format!("Ours, run freely with {what}, is left with KL {}{rest}.", short(with)));
        }
        None => {}
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_several_layers_are_named_once() {
        let names = |names: &[&str]| in_layers(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["model.layers.1.mlp.up_proj"]), "model.layers.1.mlp.up_proj");
        assert_eq!(names(&["model.layers.1.q", "model.layers.1.k"]), "model.layers.1.q, model.layers.1.k");
        assert_eq!(names(&["model.layers.0.q", "model.layers.1.q", "lm_head"]), "model.layers.*.q, lm_head");
    }

    #[test]
    fn a_pattern_is_put_into_words() {
        let some = Pattern {
            differing: [1, 8],
            channels: (vec![1], 4),
            rows: [1, 2],
            nonfinite: [0, 0],
            likeness: Likeness::Multiple { factor: 0.5, left: 0.0 },
        };
        let wanted = "1 of 8 elements differ; in 1 of 4 channels (1); in 1 of 2 rows; the trace's is about 0.5000 times ours, \
                      to 0.0 %";
        assert_eq!(pattern(&some), wanted);
        assert!(pattern(&Pattern { likeness: Likeness::Zero, ..some }).ends_with("the trace's is zero"));
    }
}
