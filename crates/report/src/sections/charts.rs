//! Places for what the script draws, each with a sentence that says how to read it.

use maud::{Markup, html};
use ulpscope_record::RunRecord;
use ulpscope_record::summary::block;

use super::word;

pub(super) fn map(record: &RunRecord) -> Markup {
    html! {
        @if record.sites.is_empty() { p { "No site was compared." } }
        @else {
            p {
                "Every observed " (word("site")) ": layers across, the operations of a block down in forward order. "
                em { "Adds itself" } " is what a site adds when it is given the reference's inputs; " em { "carried along" }
                " is that and all it inherits. Cells within " (word("noise")) " are hatched; a diamond marks an "
                (word("origin")) "."
            }
            div class="chart" id="map-chart" {}
            div id="site" class="card" tabindex="-1" aria-live="polite" hidden {}
            details id="site-list" { summary { "All sites as a table" } div {} }
        }
    }
}

pub(super) fn layers(record: &RunRecord) -> Markup {
    html! {
        @if record.sites.iter().any(|site| block(&site.site).is_some()) {
            p { "Mean and largest absolute difference of each block's output from the reference's, for every arm." }
            div class="chart" id="layers-chart" {}
        }
    }
}

pub(super) fn positions(record: &RunRecord) -> Markup {
    html! {
        @if record.logits.iter().any(|logits| !logits.by_position.is_empty()) {
            p {
                "KL of the next token's distribution against the position in the prompt. Where the run was explained: the band "
                "is " (word("noise")) ", mean ± 2 standard deviations over orders of summation, and the dashed line is the cause "
                "alone, computed without rounding in between. A name in the legend shows or hides its line."
            }
            div class="chart" id="positions-chart" {}
        }
    }
}
