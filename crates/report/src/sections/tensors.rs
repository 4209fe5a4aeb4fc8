//! Weights and buffers: what each recipe did to each, and how the arms' tensors are related.

use maud::{Markup, html};
use ulpscope_record::RunRecord;
use ulpscope_record::text::{number, percent};

use super::{code, or_dash, row, table};

pub(super) fn section(record: &RunRecord) -> Markup {
    let weights = &record.weights;
    if !record.settings.traces.is_empty() {
        return html! { p { "A trace holds activations alone: no weights were compared." } };
    }
    let different: Vec<_> = (weights.different.iter())
        .map(|tensor| {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            row![
                code(&tensor.name),
                tensor.arm,
                shape.join(" × "),
                tensor.dtypes.join(", "),
                percent(tensor.equal),
                number(tensor.mean_abs),
                number(tensor.max_abs),
                format!("{}, {}", tensor.nonfinite[0], tensor.nonfinite[1]),
                or_dash(tensor.relation.as_deref()),
            ]
        })
        .collect();
    let of_weights =
        ["tensor", "arm", "#shape", "formats", "#equal", "#mean |Δ|", "#max |Δ|", "#not finite", "relation"];
    let buffers: Vec<_> = (record.buffers.iter())
        .map(|buffer| {
            row![
                code(&buffer.name),
                buffer.arm,
                buffer.dtypes.join(", "),
                html! { @if buffer.identical { "identical" } @else { strong { "different" } } },
                percent(buffer.equal),
                number(buffer.max_abs),
                number(buffer.max_rel),
                or_dash(buffer.relation.as_deref()),
            ]
        })
        .collect();
    let of_buffers = ["buffer", "arm", "formats", "bits", "#equal", "#max |Δ|", "#max relative", "relation"];
    let recipes: Vec<_> = (record.arms.iter())
        .map(|arm| {
            let sum = |field: fn(&ulpscope_record::Conversion) -> u64| {
                arm.conversions.iter().map(field).fold(0u64, u64::saturating_add)
            };
            row![
                arm.name,
                code(&arm.recipe),
                arm.conversions.len(),
                sum(|c| c.elements),
                sum(|c| c.changed),
                sum(|c| c.overflowed),
                sum(|c| c.flushed),
                sum(|c| c.nonfinite),
            ]
        })
        .collect();
    let of_recipes =
        ["arm", "recipe", "#tensors", "#elements", "#changed", "#overflowed", "#flushed to 0", "#not finite"];
    html! {
        p {
            @if weights.compared == 0 { "No weights were compared." }
            @else { (weights.identical) " of " (weights.compared) " tensors of the state dict are bit-identical in every arm." }
        }
        @if different.len() > 12 {
            details {
                summary { (different.len()) " weights differ" }
                (table("Weights that differ", &of_weights, &different, ""))
            }
        } @else { (table("Weights that differ", &of_weights, &different, "")) }
        (table("Buffers, which no state dict holds", &of_buffers, &buffers, "No buffers were compared."))
        (table("What each recipe did", &of_recipes, &recipes, ""))
        details id="conversion-list" { summary { "Tensor by tensor" } div {} }
    }
}
