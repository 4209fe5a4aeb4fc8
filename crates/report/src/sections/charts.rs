//! Places for what the script draws, each with a sentence that says how to read it.

use crate::escape::text;
use ulpscope_record::RunRecord;
use ulpscope_record::summary::block;

pub(super) fn map(record: &RunRecord) -> String {
    if record.sites.is_empty() {
        return "<h2>Every site</h2>\n<p>No site was compared.</p>\n".to_owned();
    }
    "<h2>Where it starts</h2>\n\
     <p>Every observed site: layers across, the operations of a block down in forward order. <em>Introduced</em> is what \
     a site adds when it is fed the reference's inputs; <em>accumulated</em> is that and all it inherits. Cells within \
     the floor are hatched and quiet; a diamond marks an origin.</p>\n\
     <div class=\"chart\" id=\"map-chart\"></div>\n\
     <div id=\"site\" class=\"card\" tabindex=\"-1\" aria-live=\"polite\" hidden></div>\n\
     <details id=\"site-list\"><summary>All sites as a table</summary><div></div></details>\n"
        .to_owned()
}

pub(super) fn layers(record: &RunRecord) -> String {
    if !record.sites.iter().any(|site| block(&site.site).is_some()) {
        return String::new();
    }
    "<h2>By layer</h2>\n\
     <p>Mean and largest absolute difference of each block's output from the reference's, for every arm.</p>\n\
     <div class=\"chart\" id=\"layers-chart\"></div>\n"
        .to_owned()
}

pub(super) fn positions(record: &RunRecord) -> String {
    if record.logits.iter().all(|logits| logits.by_position.is_empty()) {
        return String::new();
    }
    "<h2>By position</h2>\n\
     <p>KL of the next token's distribution against the position in the prompt. Where the run was explained: the band is \
     the noise floor, mean ± 2 standard deviations over orders of summation, and the dashed line is the cause alone, \
     computed without rounding in between. A name in the legend shows or hides its line.</p>\n\
     <div class=\"chart\" id=\"positions-chart\"></div>\n"
        .to_owned()
}

pub(super) fn logits(record: &RunRecord) -> String {
    if record.logits.is_empty() {
        return "<h2>Logits</h2>\n<p>No logits were compared.</p>\n".to_owned();
    }
    let named = record.logits.iter().flat_map(|l| &l.by_position).any(|at| !at.top[0].is_empty());
    let which = if named {
        "Of long prompts evenly spaced positions are listed, and the first at which the most likely token flips."
    } else {
        "This record names the most likely token only, and the first positions are listed."
    };
    let rows = super::causes::logit_rows(record);
    let head = [
        "arm",
        "#prompt",
        "#bit-equal",
        "#mean |Δ|",
        "#max |Δ|",
        "allclose",
        "#KL (nats)",
        "#same top token",
        "#not finite",
    ];
    format!(
        "<h2>Logits</h2>\n{}<h3>Next tokens, side by side</h3>\n<p>{}</p>\n<div id=\"tokens\"></div>\n",
        super::table("Logits against the reference's", &head, &rows, ""),
        text(which)
    )
}
