//! What a trace does, in words: one template for each rule.
//!
//! A template names values in braces. `{n:one|many}` takes the first text where the value is 1,
//! else the second, in which `#` is the value. `{keys:runs}` and `{positions:walk}` put lists of
//! numbers into runs.

use ulpscope_record::{Finding, Value};

use super::number;
use crate::layer_groups::ranges;
use crate::trace::evidence::Evidence;

/// What is true of operations, settings and tensors, as a whole sentence without its full stop.
const CLAIMS: &[(&str, &str)] = &[
    ("departure", "trace: {trace}, ours: Hugging Face's"),
    ("attention", "trace: {trace}, ours: {ours}"),
    ("order-unknown", "trace: not one of ours, ours: {ours}"),
    ("order-by-row", "trace: {trace} at tokens {tokens}, {ours} elsewhere; ours: {ours}"),
    ("rms-norm-eps", "trace: {trace}, ours: {ours}"),
    ("rms-norm-eps-smaller", "trace: smaller than ours, any of {least} … {most} fits; ours: {ours}"),
    ("hidden-act", "trace: {trace}, ours: {ours}"),
    ("query-scale", "trace: beta {beta} from {from} on, ours: beta {own_beta} from {own_from} on"),
    ("buffer-rounded", "trace = round_{format}(ours)"),
    ("rope-theta", "trace: theta {trace}; ours: theta {ours}"),
    ("rope-scaling", "trace: {trace}; ours: {ours}"),
    ("rope-factors-missing", "trace: no factors; ours: rope_freqs of the file"),
    ("reads", "trace: {trace}, ours: {ours}"),
    ("bias-missing", "trace: none, ours: added"),
    ("tensor-negated", "trace = -ours"),
    ("tensor-doubled", "trace = 2*ours"),
    ("tensor-transposed", "trace = ours transposed"),
    ("tensor-truncated", "trace: truncated"),
    ("tensor-cast-through", "trace: by way of {format}"),
    ("tensor-rounded-before", "trace: rounded to {format} before"),
    ("holds", "the trace's holds {from}"),
    ("hold-each-other", "in the trace, each holds the other's values"),
    ("rows-beside", "trace: row id {by:+ 1|- 1}, ours: row id"),
    (
        "positions-padded",
        "trace: counted from the first token of padding, {left} more; ours: from the prompt",
    ),
    ("neighbours", "the two are neighbours in their format wherever they differ"),
    (
        "neighbours-or-edit",
        "the two are neighbours in their format wherever they differ; any of {edits} edits of one weight would do the same",
    ),
    (
        "not-finite",
        "{count} of {of} elements are infinite or NaN in the trace and numbers in ours, the first of them {first} at \
         row {row}, channel {channel}",
    ),
    ("zero-signs", "{count} zeros of {of} elements have another sign"),
];

/// What the trace computes at a site.
const FORMULAS: &[(&str, &str)] = &[
    ("computed-in", "computed in {format}"),
    ("residual-in", "the residual stream in {format}"),
    ("scores-in", "scores rounded to {format}"),
    ("steps-in", "every step in {format}"),
    ("angles-in", "angles in {format}"),
    ("in-format", "{what} in {format}"),
    ("in-q8_0", "{what} in q8_0, one scale for each 32"),
    ("int-per-vector", "{what} in int{bits}, one scale for each token and head"),
    ("int-per-channel", "{what} in int{bits}, one scale for each channel"),
    ("int-per-row", "{what} in int{bits}, one scale a row"),
    ("int-in-groups", "{what} in int{bits}, in groups of {group}"),
    ("input-in-int8", "its input in int8, one scale a token"),
    ("input-and-weight-in-int8", "input and weight in int8, one scale a token and a row"),
    ("input-in-fp8", "its input in fp8 (e4m3), {input}"),
    ("weight-in-fp8", "its weight in fp8 (e4m3), {weight}"),
    ("input-and-weight-in-fp8", "its input in fp8 (e4m3), {input}, its weight in fp8 (e4m3), {weight}"),
    // Linear layers.
    ("bias-twice", "its bias added twice"),
    ("sum-of-parts", "the sum of {parts} parts, each rounded to {format}"),
    ("inputs-alone", "the sum of the inputs {first} to {last} of {width}"),
    ("inputs-left-out", "the sum of all inputs but those {first} to {last} of {width}"),
    ("halves", "rows {first} to {last} of {of}, rows {other_first} to {other_last} of {other_of}"),
    ("token-masked", "the logit of token {first} is {logit}"),
    ("tokens-masked", "the logits of {count} tokens ({first} to {last}) are {logit}"),
    // Norms.
    ("mean-over-n-1", "the mean of the squares over n - 1"),
    ("mean-over-tokens", "the mean square over all tokens together"),
    ("layer-norm", "LayerNorm, the mean subtracted"),
    ("one-plus-weight", "times 1 + the weight"),
    ("norm-twice", "the norm twice"),
    ("no-norm", "no norm: its input"),
    ("not-normalised", "its input times the weight, not normalised"),
    ("length-for-rms", "the length for the root mean square"),
    ("epsilon-outside", "epsilon outside the root, {eps}"),
    ("epsilon", "epsilon {eps}"),
    ("normalised", "ours normalised to a root mean square of 1 by vectors of {width}{times:|, times #}"),
    ("sines-added", "plus sines and cosines of the position"),
    // The residual stream.
    ("branch-times", "{branch} times {factor} is added"),
    ("residual-and-branch-times", "{residual} times the residual stream plus {factor} times {branch}"),
    ("parallel", "the attention's output is added here, beside the MLP's, as in a parallel residual"),
    ("cut-off", "cut off at {most}"),
    ("branch-normalised", "{branch} is normalised before it is added"),
    ("branch-dropped", "{percent} % of {branch} dropped, the rest times {factor}"),
    // Rotation.
    ("tables-times", "cos and sin times {factor}, an attention factor that is missing or is none of ours"),
    ("angles-times", "angles times {factor}"),
    ("theta", "theta {theta}"),
    ("theta-root", "theta {theta}, the root of ours: exponents i/D for 2i/D"),
    ("theta-here", "theta {theta} here"),
    ("positions", "positions {runs:walk}"),
    ("rotated-partly", "only the first {part} of {width} elements of a head are rotated"),
    ("rotated-behind", "rotated at the position behind, t + 1"),
    ("rotated-behind-but-last", "rotated at the position behind, t + 1, the last at its own"),
    ("rotated-before", "rotated at the position before, t - 1"),
    ("rotated-before-but-first", "rotated at the position before, t - 1, the first at its own"),
    ("rotated-two-behind", "rotated at two positions on, t + 2"),
    ("rotated-by-head", "rotated by the number of the head, not the token"),
    ("rotated-twice", "rotated twice"),
    ("rotated-half", "rotated by half of each angle"),
    ("cos-and-sin-exchanged", "cos and sin exchanged"),
    ("minus-missing", "rotate_half without its minus"),
    ("cos-alone", "cos alone"),
    ("sin-alone", "sin alone"),
    (
        "tokens-as-heads",
        "[tokens, heads · head_dim] taken as [heads, tokens, head_dim] without exchanging them",
    ),
    ("elements-as-heads", "[tokens, heads · head_dim] taken as [tokens, head_dim, heads]"),
    // Attention.
    ("temperature", "queries times 1 + {beta}·ln(1 + ⌊position / {original}⌋)"),
    ("soft-cap", "{cap}·tanh(x/{cap})"),
    ("scores-times", "scores times {factor}"),
    ("scores-times-by-head", "scores times {factors} by head"),
    (
        "scores-times-by-position",
        "scores times a factor of the query's position, {first} at the first and {last} at the last",
    ),
    ("less-distance", "less a multiple of the distance, as ALiBi has it: {slopes} by head"),
    ("plus-distance", "plus something that depends on the distance alone, by head"),
    ("positions-before", "{what} of {by:the position|# positions} before"),
    ("of-layer", "{what} of layer {layer}"),
    ("heads-read", "query heads read heads {heads} of keys or values"),
    ("queries-and-keys-exchanged", "queries and keys exchanged"),
    ("keys-and-values-exchanged", "keys and values exchanged"),
    ("values-for-keys", "values for keys"),
    ("keys-for-values", "rotated keys for values"),
    ("values-rotated", "values that are rotated as keys are"),
    ("values-with-first-layer", "values that are the mean of this layer's and the first's"),
    ("zero-after-softmax", "what lies ahead set to 0 after the softmax, the rest as it was"),
    ("softmax-over-queries", "a softmax over queries, not over keys"),
    ("softmax-plus-one", "a softmax with 1 more in its sum"),
    ("softmax-less", "a softmax whose rows sum to {least} to {most}, as with something more in its sum"),
    (
        "heads-not-exchanged",
        "[heads, tokens, head_dim] taken as [tokens, heads · head_dim] without exchanging heads and tokens",
    ),
    ("heads-as-elements", "[tokens, heads, head_dim] taken as [tokens, head_dim, heads]"),
    ("slots-empty", "those of the {end} {count:position is|# positions are} zero"),
    ("slot-overwritten", "position {slot} holds what belongs to {from}"),
    ("slots-exchanged", "those of positions {first} to {last} and {other_first} to {other_last} exchanged"),
    // What fused kernels, trainers and caches do.
    ("norm-of-sum", "the norm of the sum before it is rounded{once:, and rounds once|}"),
    ("norm-of-stream", "the norm of the residual stream, kept in f32{once:, and rounds once|}"),
    ("stream-in-f32", "the residual stream, kept in f32"),
    ("rotated-unrounded", "rotated before it is rounded"),
    ("context-of-f32", "probabilities in f32 times the values"),
    ("autocast", "f32 here, products in {format}"),
    ("weights-not-rounded", "weights that are not rounded to {format}, as of an adapter beside its base"),
    (
        "prefix-holds",
        "{what} of the {tokens:first token|first # tokens}, which were cached; what later blocks cached follows from that",
    ),
    ("prefix-unseen", "the {tokens:first token|first # tokens}, which were cached, are not seen"),
    // Masks.
    ("window", "a query sees the last {keys} keys"),
    ("no-window", "a query sees every key up to its own"),
    ("window-and-first", "a query sees the last {keys} keys and the first {first}"),
    ("own-key-hidden", "a query does not see its own key, the first query excepted"),
    ("chunks", "a query sees the keys up to its own in its chunk of {size}"),
    ("prefix", "the first {tokens} tokens see each other, the rest those before"),
    ("first-hidden", "{keys:the first key is|the first # keys are} hidden"),
    ("first-hidden-behind", "{keys:the first key is|the first # keys are} hidden from all queries behind"),
    (
        "first-hidden-but-own",
        "{keys:the first key is|the first # keys are} hidden from all queries but their own",
    ),
    ("ahead-zero", "the scores of what lies ahead are 0, not hidden"),
    ("ahead-seen", "what lies ahead is not hidden"),
    ("ahead-lowered", "what lies ahead is lowered by {by}, not hidden"),
    ("keys-missed", "query {query} does not see keys {keys:runs}{queries:|, the first of # such queries}"),
    ("keys-seen", "query {query} sees keys {keys:runs}{queries:|, the first of # such queries}"),
    // The gated product.
    ("activation-of-product", "the activation of gate · up"),
    ("activation", "{name}"),
    ("quick-gelu", "quick_gelu, x·sigmoid(1.702·x)"),
    ("glu", "sigmoid, as in GLU"),
    ("no-activation", "no activation: its input"),
    ("swish", "x·sigmoid({beta}·x)"),
    ("up-cut-off", "up_proj cut off at {most}"),
    ("gate-alone", "the activation alone, without up_proj"),
    ("up-alone", "up_proj alone, without the gate"),
    ("up-plus-one", "act · (up + 1)"),
    ("gate-plus-up", "act + up"),
    // Expressions.
    ("function-of-ours", "{function} of ours"),
    ("function", "{function} of {x}"),
    ("sum", "{x} plus {y}"),
    ("difference", "{x} less {y}"),
    ("product", "{x} times {y}"),
    ("function-of-product", "{function} of ({x} times {y})"),
    ("function-of-sum", "{function} of ({x} plus {y})"),
    ("function-times", "{function} of {x} times {y}"),
    ("sum-of-three", "{x} plus {y} plus {z}"),
];

/// What the values at a site are of ours.
const VALUES: &[(&str, &str)] = &[
    ("dropped", "b = {factor}*a, but 0 in {percent} % of the elements"),
    ("channel-constant", "b = a plus a constant for each channel, the same at all tokens"),
];

/// Names in findings that are no names of the model.
fn phrase(name: &str) -> &str {
    match name {
        "block-input" => "the block's input",
        "attention-output" => "the attention's output",
        "mlp-output" => "the MLP's output",
        "weight" => "its weight",
        "table" => "its table",
        "per-token" => "one scale a token",
        "per-row" => "one scale a row",
        "per-tensor" => "one scale for all of it",
        "unscaled" => "without a scale",
        name => name,
    }
}

/// What the trace does and what ours does.
pub(crate) fn relation(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Related(statement) => format!("{OURS_A}{statement}"),
        Evidence::Fact(finding) => prefix(finding).to_owned() + &does(finding),
    }
}

/// The same without saying whose it is, for a sentence that goes on.
pub(crate) fn does(finding: &Finding) -> String {
    if finding.rule == "layers" {
        return layers(finding);
    }
    let known = [CLAIMS, FORMULAS, VALUES].into_iter().flatten().find(|(rule, _)| *rule == finding.rule);
    debug_assert!(known.is_some(), "no words for {}", finding.rule);
    known.map_or_else(|| finding.rule.clone(), |(_, template)| filled(template, finding))
}

const OURS_A: &str = "of ours (a) and the trace's (b): ";

fn prefix(finding: &Finding) -> &'static str {
    let among = |table: &[(&str, &str)]| table.iter().any(|(rule, _)| *rule == finding.rule);
    match () {
        () if among(FORMULAS) => "trace: ",
        () if among(VALUES) || finding.rule == "layers" => OURS_A,
        () => "",
    }
}

/// A template with a finding's values.
fn filled(template: &str, finding: &Finding) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, (field, behind))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        let (key, form) = field.split_once(':').map_or((field, None), |(key, form)| (key, Some(form)));
        let value = finding.values.get(key);
        debug_assert!(value.is_some(), "{} has no {key}", finding.rule);
        text += before;
        text += &value.map_or(String::new(), |value| formed(value, form));
        rest = behind;
    }
    text + rest
}

fn formed(value: &Value, form: Option<&str>) -> String {
    match form {
        None => plain(value),
        Some("runs") => ranges(whole(value)),
        Some("walk") => walk(value),
        Some(form) => {
            let (single, many) = form.split_once('|').unwrap_or((form, form));
            let is_one = matches!(value, Value::Integer(1)) || matches!(value, Value::Number(x) if *x == 1.0);
            if is_one { single.to_owned() } else { many.replace('#', &plain(value)) }
        }
    }
}

/// Items of a list that are shown.
const ITEMS: usize = 16;

fn plain(value: &Value) -> String {
    match value {
        Value::Flag(flag) => flag.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Number(x) => number(*x),
        Value::Text(name) => phrase(name).to_owned(),
        Value::List(items) => {
            let shown: Vec<String> = items.iter().take(ITEMS).map(plain).collect();
            shown.join(", ") + if items.len() > ITEMS { ", …" } else { "" }
        }
    }
}

/// A list of whole numbers of a finding.
pub(crate) fn integers(finding: &Finding, key: &str) -> Vec<usize> {
    finding.values.get(key).map_or(Vec::new(), whole)
}

fn whole(value: &Value) -> Vec<usize> {
    let Value::List(items) = value else { return Vec::new() };
    let integer = |item: &Value| match item {
        Value::Integer(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    items.iter().filter_map(integer).collect()
}

/// Runs of positions, each with its first token, its length, and its first and last position:
/// `0 to 11, then 0 to 20 from token 12 on`.
fn walk(runs: &Value) -> String {
    const SHOWN: usize = 4;
    let Value::List(runs) = runs else { return String::new() };
    let run = |(i, run): (usize, &Value)| {
        let [token, length, first, last] = whole(run)[..] else { return String::new() };
        let what = match (length, first == last) {
            (1, _) => first.to_string(),
            (_, true) => format!("{first} throughout"),
            _ => format!("{first} to {last}"),
        };
        if i == 0 { what } else { format!("then {what} from token {token} on") }
    };
    let shown: Vec<String> = runs.iter().enumerate().take(SHOWN).map(run).collect();
    shown.join(", ") + if runs.len() > SHOWN { ", …" } else { "" }
}

/// Which layers of ours the trace's layers are.
fn layers(finding: &Finding) -> String {
    let layers = integers(finding, "layers");
    let pairs: Vec<(usize, usize)> = layers.into_iter().zip(integers(finding, "from")).collect();
    match pairs[..] {
        [(layer, from)] => format!("b's layer {layer} is a's layer {from}"),
        [(i, from), (j, other)] if (i, j) == (other, from) => format!("layers {i} and {j} are swapped"),
        _ => {
            let shown: Vec<String> =
                pairs.iter().take(ITEMS).map(|(layer, from)| format!("{layer} is a's {from}")).collect();
            let more = if pairs.len() > ITEMS { ", …" } else { "" };
            format!("of b's layers {}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fill_templates() {
        let relation = |finding: Finding| super::relation(&Evidence::Fact(finding));
        let cap = Finding::new("soft-cap").with("cap", 30.0);
        assert_eq!(relation(cap), "trace: 30·tanh(x/30)");
        let before = |by: usize| Finding::new("positions-before").with("what", "keys").with("by", by);
        assert_eq!(does(&before(1)), "keys of the position before");
        assert_eq!(does(&before(2)), "keys of 2 positions before");
        let keys = Finding::new("keys-seen").with("query", 3).with("keys", vec![4usize, 5, 6, 9]);
        assert_eq!(does(&keys.clone().with("queries", 1)), "query 3 sees keys 4 to 6, 9");
        assert_eq!(
            does(&keys.with("queries", 2)),
            "query 3 sees keys 4 to 6, 9, the first of 2 such queries"
        );
        let eps = Finding::new("rms-norm-eps").with("trace", 0.0).with("ours", 1e-6);
        assert_eq!(relation(eps), "trace: 0, ours: 1e-6");
    }

    #[test]
    fn rules_are_in_one_table() {
        let all: Vec<&str> =
            [CLAIMS, FORMULAS, VALUES].into_iter().flatten().map(|(rule, _)| *rule).collect();
        for (i, rule) in all.iter().enumerate() {
            assert!(!all[..i].contains(rule), "{rule}");
        }
    }

    #[test]
    fn layers_are_named_by_what_they_hold() {
        let text = |layers: &[usize], from: &[usize]| {
            does(&Finding::new("layers").with("layers", layers.to_vec()).with("from", from.to_vec()))
        };
        assert_eq!(text(&[2], &[1]), "b's layer 2 is a's layer 1");
        assert_eq!(text(&[1, 2], &[2, 1]), "layers 1 and 2 are swapped");
        assert_eq!(text(&[0, 1, 2], &[1, 2, 0]), "of b's layers 0 is a's 1, 1 is a's 2, 2 is a's 0");
    }
}
