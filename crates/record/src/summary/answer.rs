//! What a reader wants to know first: the same for a terminal, a page and a pull request.

use crate::explanation::{Explanation, Status};
use crate::judgement::{Consequence, Proof, Row, Severity, Size, Topic};
use crate::schema::{Arm, Model, RunRecord};

/// The answer of a run about one arm, in the order in which a reader needs it.
///
/// It is the [`Judgement`](crate::Judgement) where the record has one. Of an older record, and of a
/// comparison that asked for no cause, it says what those hold, and no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Names of the two arms, the reference first.
    pub arms: [String; 2],
    /// What the two are, each named so that a reader tells them apart.
    pub compared: [String; 2],
    /// What made each of them, as far as `compared` does not say it; empty where both were made
    /// alike.
    pub recipes: [String; 2],
    /// The model of both, where `compared` does not name it.
    pub model: Option<String>,
    /// What the divergence does to the output; none where the record does not say.
    pub consequence: Option<Consequence>,
    /// That, or how the explanation ended, in capitals.
    pub badge: &'static str,
    /// The answer in a sentence or two.
    pub headline: String,
    /// The worst of the causes; none where there is none, or none is known.
    pub severity: Option<Severity>,
    /// How the causes were shown, in words; empty where there is nothing to prove.
    pub proof: &'static str,
    /// What was measured.
    pub size: Size,
    /// Cause, place, remedy and limits, in this order.
    pub rows: Vec<Row>,
}

/// The answer about the arm that was explained, or else about the first one.
///
/// ```
/// use ulpscope_record::{RunRecord, summary::answer};
///
/// let answer = answer(&RunRecord::from_json(include_str!("../../tests/explained.json"))?);
/// assert_eq!((answer.badge, answer.proof), ("NOISE", "proved both ways, to the bit"));
/// # Ok::<(), ulpscope_record::RecordError>(())
/// ```
pub fn answer(record: &RunRecord) -> Answer {
    let explanation = record.explanation.as_ref();
    let arm = explained_arm(record);
    let reference = &record.arms[0];
    let mut answer = Answer {
        arms: [&reference.name, &arm.name].map(Clone::clone),
        compared: names(record, arm),
        recipes: [told(reference, reference), told(arm, reference)],
        model: None,
        consequence: None,
        badge: "COMPARED",
        headline: String::new(),
        severity: None,
        proof: "",
        size: size(record, arm),
        rows: Vec::new(),
    };
    match (explanation.and_then(|e| e.judgement.as_ref()), explanation) {
        (Some(judgement), _) => {
            answer.consequence = Some(judgement.consequence);
            answer.compared = judgement.compared.clone();
            answer.badge = judgement.consequence.badge();
            answer.headline = judgement.headline.clone();
            answer.severity = judgement.severity;
            answer.proof = shown(judgement.proof);
            answer.size = judgement.size.clone();
            answer.rows = judgement.rows.clone();
        }
        (None, Some(explanation)) => older(&mut answer, explanation),
        (None, None) => compared(&mut answer, record, arm),
    }
    let [a, b] = &answer.recipes;
    if a == b || answer.compared[0].contains(a.as_str()) && answer.compared[1].contains(b.as_str()) {
        answer.recipes = Default::default();
    }
    let named = |model: &Model| answer.compared.iter().any(|name| name.contains(&model.name));
    let both = arm.model.is_none() && record.settings.traces.is_empty();
    answer.model = Some(&record.model).filter(|model| both && !named(model)).map(|model| model.name.clone());
    answer
}

/// How causes were shown to be the causes, in words.
fn shown(proof: Proof) -> &'static str {
    match proof {
        Proof::Bits => "proved both ways, to the bit",
        Proof::BothWays => "proved both ways",
        Proof::OnItsInputs => "proved on the recording's own inputs",
        Proof::ReadOff => "read off the recorded values, nothing was run",
        Proof::None => "not proved",
    }
}

/// Of an explanation without a judgement.
fn older(answer: &mut Answer, explanation: &Explanation) {
    answer.badge = match explanation.status {
        Status::Explained => "EXPLAINED",
        Status::Unexplained => "UNEXPLAINED",
        Status::NoDifference => "NO DIFFERENCE",
        Status::Incomplete => "INCOMPLETE",
    };
    answer.headline = explanation.verdict.clone();
    answer.severity = explanation.causes.iter().map(|cause| cause.severity()).max();
    answer.proof = explanation.causes.first().map_or("", |cause| match (cause.necessary, cause.sufficient) {
        (true, true) if cause.bit_equal => shown(Proof::Bits),
        (true, true) => shown(Proof::BothWays),
        (false, false) => shown(Proof::None),
        _ => "proved one way",
    });
    let mut add = |topic, text: String| {
        let row = Row { topic, text };
        if !row.text.is_empty() && !answer.rows.contains(&row) {
            answer.rows.push(row);
        }
    };
    for cause in &explanation.causes {
        let relation = cause.relation.as_ref().map_or(String::new(), |relation| format!(", {relation}"));
        add(Topic::Cause, format!("{}: {}{relation}", cause.title, cause.subject));
    }
    for site in explanation.causes.iter().filter_map(|cause| cause.site.as_ref()) {
        add(Topic::Where, format!("first seen at {site}"));
    }
    explanation.causes.iter().for_each(|cause| add(Topic::Fix, cause.remedy.clone()));
    explanation.guards.iter().for_each(|guard| add(Topic::Limit, guard.clone()));
}

/// Of a comparison that asked for no cause.
fn compared(answer: &mut Answer, record: &RunRecord, arm: &Arm) {
    let logits = || record.logits.iter().filter(|logits| logits.arm == arm.name);
    let [compared, all] = answer.size.sites;
    let odd = record.sites.iter().find(|site| site.arm == arm.name && site.is_blind());
    let blind = odd.is_some() || logits().any(|logits| logits.nonfinite[0] > 0);
    let every = logits().count() == record.prompts.len();
    let consequence = match () {
        () if blind || logits().next().is_none() && compared == 0 => Some(Consequence::Undecided),
        () if every && logits().all(|logits| logits.equal == 1.0) => Some(Consequence::Equal),
        () => None,
    };
    (answer.consequence, answer.badge) = (consequence, consequence.map_or(answer.badge, Consequence::badge));
    let mine = || record.first.iter().filter(|first| first.arm == arm.name);
    let first = mine().find_map(|first| Some((first.prompt, first.site.as_deref()?)));
    answer.headline = match first {
        _ if blind => format!(
            "{}, the reference, holds NaN or infinity{}: nothing can be held against it.",
            answer.arms[0],
            odd.map_or(String::new(), |odd| format!(" from {} on", odd.site))
        ),
        Some((prompt, site)) => {
            format!("{} parts from {} at {site} on prompt {prompt}.", answer.arms[1], answer.arms[0])
        }
        None if compared == 0 => "No activations were compared.".to_owned(),
        None if compared == all && arm.dtype != record.arms[0].dtype => format!(
            "Every activation is the same number, in {} and in {}: {all} sites.",
            record.arms[0].dtype, arm.dtype
        ),
        None if compared == all => format!("Every activation is bit-equal: {all} sites."),
        None => format!("No difference at the {compared} sites that were compared, of {all}."),
    };
}

/// The arm that was explained, or else the first one that is compared with the reference.
pub(super) fn explained_arm(record: &RunRecord) -> &Arm {
    let explained = record.explanation.as_ref().map(|explanation| &explanation.arm);
    let named = explained.and_then(|name| record.arms.iter().find(|arm| arm.name == *name));
    named.or(record.arms.get(1)).unwrap_or(&record.arms[0])
}

/// A recipe with what the arm's arithmetic departs in, from the reference or from Hugging Face's.
pub fn told(arm: &Arm, reference: &Arm) -> String {
    let attention = Some(&arm.attention).filter(|attention| **attention != reference.attention);
    let order = Some(&arm.accumulation).filter(|order| **order != reference.accumulation);
    let parts = [&arm.recipe].into_iter().chain(attention).chain(order).chain(&arm.variants);
    parts.map(String::as_str).collect::<Vec<_>>().join("@")
}

/// What an arm and the reference are, each named so that a reader tells the two apart: two models
/// by the ends of their paths, one model by what was done to it.
pub fn names(record: &RunRecord, arm: &Arm) -> [String; 2] {
    let given = |model: &Model, at: usize| -> String {
        // What was tried before could not be had.
        let sources = record.settings.models.get(at);
        sources.and_then(|all| all.get(model.unavailable.len())).unwrap_or(&model.name).clone()
    };
    let ours = given(&record.model, 0);
    if let Some(trace) = record.settings.traces.first() {
        return apart(trace, &ours);
    }
    match &arm.model {
        Some(model) => apart(&ours, &given(model, 1)),
        None => [told(&record.arms[0], &record.arms[0]), told(arm, &record.arms[0])],
    }
}

/// The ends of two paths, of two parts, or of as many as tell them apart.
fn apart(a: &str, b: &str) -> [String; 2] {
    let parts = |path: &str| -> Vec<String> {
        let parts = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | ".."));
        parts.map(str::to_owned).collect()
    };
    let (of_a, of_b) = (parts(a), parts(b));
    let end = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let most = of_a.len().max(of_b.len()).max(2);
    let count = (2..most).find(|count| end(&of_a, *count) != end(&of_b, *count)).unwrap_or(most);
    [end(&of_a, count), end(&of_b, count)]
}

/// What the record measures about an arm, over all prompts.
fn size(record: &RunRecord, arm: &Arm) -> Size {
    let logits = || record.logits.iter().filter(|logits| logits.arm == arm.name);
    let tokens = |prompt: usize| record.prompts.get(prompt).map_or(0, |prompt| prompt.ids.len());
    let positions: usize = logits().map(|logits| tokens(logits.prompt)).sum();
    let kl = logits().map(|logits| logits.kl * tokens(logits.prompt) as f64).sum::<f64>() / positions as f64;
    let explanation = record.explanation.as_ref();
    let floors = || explanation.iter().flat_map(|e| &e.floor.logits).map(|floor| floor.kl);
    let decisions = || explanation.iter().flat_map(|e| &e.decisions);
    let flips = logits().flat_map(|l| &l.by_position).filter(|at| at.top1[0] != at.top1[1]).count();
    Size {
        kl,
        floor_kl: floors().sum::<f64>() / floors().count() as f64,
        floor_most: floors().fold(f64::NAN, f64::max),
        intrinsic_kl: f64::NAN,
        additive: false,
        prompts: record.prompts.len(),
        positions,
        flips,
        clear_flips: decisions().map(|decision| decision.flips_outside_near_ties).sum(),
        continued: decisions().map(|decision| decision.continued).max().unwrap_or(0),
        parts_at: decisions().filter_map(|decision| decision.first_different_token).min(),
        sites: [record.coverage.compared, record.coverage.sites],
    }
}

/// Which parts of the layers add a difference of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strips {
    /// Of each layer its attention and its MLP, with the norms in front of them.
    pub layers: Vec<[Part; 2]>,
    /// Sites outside the layers that add more than noise.
    pub outside: Vec<String>,
}

/// What is known about one part of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// No site of it could be compared.
    #[default]
    Unseen,
    /// It adds no more than noise does.
    Quiet,
    /// It adds more.
    Adds,
}

/// Where differences come in, over all prompts; of a record without origins there is nothing to
/// show.
pub fn strips(record: &RunRecord) -> Strips {
    let mut strips = Strips::default();
    let Some(explanation) = record.explanation.as_ref().filter(|e| !e.origins.is_empty()) else {
        return strips;
    };
    let compared = record.sites.iter().filter(|site| site.arm == explanation.arm && !site.is_blind());
    let seen = compared.map(|site| (&site.site, Part::Quiet));
    let origins = explanation.origins.iter().map(|origin| (&origin.site, Part::Adds));
    for (site, found) in seen.chain(origins) {
        match part(site) {
            Some((layer, part)) => {
                if layer >= strips.layers.len() {
                    strips.layers.resize(layer + 1, [Part::Unseen; 2]);
                }
                let known = &mut strips.layers[layer][part];
                *known = found.max(*known);
            }
            None if found == Part::Adds && !strips.outside.contains(site) => {
                strips.outside.push(site.clone())
            }
            None => {}
        }
    }
    strips
}

/// The layer that a divergence starts in: of the first origin in any layer, or else the first one.
pub fn first_layer(record: &RunRecord) -> usize {
    let origins = record.explanation.iter().flat_map(|explanation| &explanation.origins);
    origins.filter_map(|origin| part(&origin.site)).map(|(layer, _)| layer).next().unwrap_or(0)
}

/// The layer of a site, and whether it belongs to the attention (0) or to the MLP (1).
fn part(site: &str) -> Option<(usize, usize)> {
    /// More than any model has: a record from elsewhere may say anything.
    const MOST: usize = 4096;
    let rest = site.strip_prefix("model.layers.")?;
    let (layer, place) = rest.split_once('.').unwrap_or((rest, ""));
    let layer = layer.parse().ok().filter(|layer| *layer < MOST)?;
    let attends = ["self_attn", "input_layernorm", "resid_mid"].iter().any(|part| place.starts_with(part));
    Some((layer, usize::from(!attends)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_models_are_told_apart_by_the_ends_of_their_paths() {
        for (a, b, told) in [
            ("ck/bf16", "ck_i4", ["ck/bf16", "ck_i4"]),
            ("org/model", "/home/me/model", ["org/model", "me/model"]),
            ("/x/one/run/model", "/x/two/run/model/", ["one/run/model", "two/run/model"]),
            ("same", "same", ["same", "same"]),
        ] {
            assert_eq!(apart(a, b), told);
        }
    }

    #[test]
    fn an_arm_is_told_by_what_sets_it_apart() {
        let mut run = RunRecord::from_json(include_str!("../../tests/small.json")).unwrap();
        run.arms[1].attention = "sdpa".into();
        run.arms[1].variants = vec!["norm=fused".into()];
        assert_eq!(told(&run.arms[1], &run.arms[0]), "load(f32).to(bf16)@sdpa@norm=fused");
        assert_eq!(told(&run.arms[0], &run.arms[0]), "load(bf16)");
    }

    #[test]
    fn both_schemas_are_answered() {
        let read = |text| answer(&RunRecord::from_json(text).unwrap());
        let new = read(include_str!("../../tests/explained.json"));
        assert_eq!((new.badge, new.consequence), ("NOISE", Some(Consequence::Noise)));
        let old = read(include_str!("../../tests/explained-1.json"));
        assert_eq!((old.badge, old.consequence), ("EXPLAINED", None));
        for answer in [&new, &old] {
            assert_eq!(answer.compared, ["load(bf16)", "load(f32).to(bf16)"]);
            assert_eq!(answer.recipes, ["", ""]);
            assert_eq!((answer.model.as_deref(), answer.size.positions), (Some("tiny-llama"), 3));
            assert!((answer.size.floor_kl - 0.00152).abs() < 1e-9 && answer.size.floor_most == 0.0017);
            let topics: Vec<Topic> = answer.rows.iter().map(|row| row.topic).collect();
            assert!(topics.starts_with(&[Topic::Cause]) && topics.contains(&Topic::Limit), "{topics:?}");
        }
        let compared = read(include_str!("../../tests/small.json"));
        assert_eq!(compared.headline, "b parts from a at model.rotary_emb.cos on prompt 0.");
    }

    #[test]
    fn strips_tell_what_adds_from_what_was_not_looked_at() {
        let mut record = RunRecord::from_json(include_str!("../../tests/explained.json")).unwrap();
        let strips = super::strips(&record);
        assert_eq!(strips.layers, [[Part::Unseen, Part::Quiet]; 2]);
        assert_eq!(strips.outside, ["model.rotary_emb.cos", "model.rotary_emb.sin"]);
        let origins = &mut record.explanation.as_mut().unwrap().origins;
        origins[0].site = "model.layers.1.self_attn.q_proj".into();
        origins[1].site = "model.layers.99999999999".into();
        let strips = super::strips(&record);
        assert_eq!((strips.layers[1], first_layer(&record)), ([Part::Adds, Part::Quiet], 1));
        assert_eq!(strips.layers.len(), 2);
    }
}
