//! Weights and buffers: what each recipe did to each, and how the arms' tensors are related.

use super::{code, or_dash, table};
use crate::escape::text;
use ulpscope_record::RunRecord;
use ulpscope_record::text::{number, percent};

pub(super) fn section(record: &RunRecord) -> String {
    let weights = &record.weights;
    let mut html = "<h2>Weights and buffers</h2>\n".to_owned();
    if !record.settings.traces.is_empty() {
        return html + "<p>A trace holds activations alone: no weights were compared.</p>\n";
    }
    html += &format!(
        "<p>{} of {} tensors of the state dict are bit-identical in every arm.</p>\n",
        weights.identical, weights.compared
    );
    let rows: Vec<Vec<String>> = (weights.different.iter())
        .map(|tensor| {
            let [a, b] = &tensor.dtypes;
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            vec![
                code(&tensor.name),
                text(&tensor.arm),
                shape.join(" × "),
                text(&format!("{a}, {b}")),
                percent(tensor.equal),
                number(tensor.mean_abs),
                number(tensor.max_abs),
                format!("{}, {}", tensor.nonfinite[0], tensor.nonfinite[1]),
                or_dash(tensor.relation.as_deref()),
            ]
        })
        .collect();
    let head =
        ["tensor", "arm", "#shape", "formats", "#equal", "#mean |Δ|", "#max |Δ|", "#not finite", "relation"];
    html += &table("Weights that differ", &head, &rows, "");

    let rows: Vec<Vec<String>> = (record.buffers.iter())
        .map(|buffer| {
            let [a, b] = &buffer.dtypes;
            let verdict = if buffer.identical { "identical" } else { "<strong>different</strong>" };
            vec![
                code(&buffer.name),
                text(&buffer.arm),
                text(&format!("{a}, {b}")),
                verdict.to_owned(),
                percent(buffer.equal),
                number(buffer.max_abs),
                number(buffer.max_rel),
                or_dash(buffer.relation.as_deref()),
            ]
        })
        .collect();
    let head = ["buffer", "arm", "formats", "bits", "#equal", "#max |Δ|", "#max relative", "relation"];
    html += &table("Buffers, which no state dict holds", &head, &rows, "No buffers were compared.");

    let rows: Vec<Vec<String>> = (record.arms.iter())
        .map(|arm| {
            let sum = |field: fn(&ulpscope_record::Conversion) -> u64| {
                arm.conversions.iter().map(field).fold(0u64, u64::saturating_add).to_string()
            };
            vec![
                text(&arm.name),
                code(&arm.recipe),
                arm.conversions.len().to_string(),
                sum(|c| c.elements),
                sum(|c| c.changed),
                sum(|c| c.overflowed),
                sum(|c| c.flushed),
                sum(|c| c.nonfinite),
            ]
        })
        .collect();
    let head =
        ["arm", "recipe", "#tensors", "#elements", "#changed", "#overflowed", "#flushed to 0", "#not finite"];
    html += &table("What each recipe did", &head, &rows, "");
    html + "<details id=\"conversion-list\"><summary>Tensor by tensor</summary><div></div></details>\n"
}
