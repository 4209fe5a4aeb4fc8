//! A record as a page of Markdown.

use crate::schema::{RunRecord, SiteDivergence};
use crate::text::{number, percent, plural, shortened, unprintable};
use std::fmt::Write;

mod answer;
mod explained;
mod notes;
mod start;

pub use answer::{Answer, Part, Strips, answer, first_layer, names, strips, told};
pub use explained::{bisected, class_of, fork, largest_first, measured, proved, shares_add_up};
pub use notes::{notes, said_first, tokenizer_words};
pub use start::{Start, start};

/// Rows of a table before the rest is only counted.
const ROWS: usize = 20;
/// Prompts whose layers get a table.
const PROMPTS: usize = 4;
/// Sites in the table of what introduces most.
const TOP: usize = 10;

/// The record as a page of Markdown: what was compared, the verdict and its rows, then everything
/// that stands behind it.
///
/// Whatever came from outside (prompts, names, reasons) is escaped, so that it can neither break a
/// table nor bring HTML along.
pub fn markdown(record: &RunRecord) -> String {
    opening(record, 1) + &details(record)
}

/// What a page of Markdown opens with: conditions that failed, the two that are compared, the
/// verdict, its rows.
pub fn opening(record: &RunRecord, level: usize) -> String {
    let answer = answer(record);
    let mut page = Page(String::new());
    for failed in &record.settings.failed {
        page.line(format!("**✗ {}**\n", escape(failed)));
    }
    let ([a, b], [of_a, of_b]) = (answer.arms.each_ref().map(|arm| escape(arm)), &answer.compared);
    let heading = match record.arms.len() {
        0..2 => escape(&record.model.name),
        _ => format!("{b}: {} against {a}: {}", escape(of_b), escape(of_a)),
    };
    page.line(format!("{} {heading}\n", "#".repeat(level)));
    let recipes = match &answer.recipes {
        [a, b] if !b.is_empty() => format!("{} against {}, ", code(b), code(a)),
        _ => String::new(),
    };
    let model = answer.model.as_ref().map_or(String::new(), |model| format!("{}, ", escape(model)));
    let tokens: usize = record.prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let prompts = plural(record.prompts.len(), "prompt");
    page.line(format!("{model}{recipes}{prompts}, {}\n", plural(tokens, "token")));
    if record.model.stand_in {
        page.line("**A stand-in for the model that was asked for.**\n");
    }
    for said in said_first(record) {
        page.line(format!("**{}**\n", escape(&said)));
    }
    let proof = if answer.proof.is_empty() { String::new() } else { format!(" ({})", answer.proof) };
    page.line(format!("**{}**{proof}: {}", answer.badge, escape(&answer.headline)));
    page.list(answer.rows.iter().map(|row| format!("{}: {}", row.topic.name(), escape(&row.text))));
    page.0
}

/// Everything that stands behind a verdict: model, causes, arms, what was compared, where it
/// starts, how far it goes.
pub fn details(record: &RunRecord) -> String {
    let mut page = Page(String::new());
    page.model(record);
    if let Some(explanation) = &record.explanation {
        explained::section(&mut page, record, explanation);
    }
    page.arms(record);
    page.weights(record);
    page.buffers(record);
    page.first(record);
    page.logits(record);
    page.layers(record);
    page.introduced(record);
    page.coverage(record);
    page.provenance(record);
    page.0
}

/// The number of a decoder block's output, `model.layers.N`; none for any other site.
pub fn block(site: &str) -> Option<usize> {
    // As u32, so that one more than a hostile number is still a number.
    usize::try_from(site.strip_prefix("model.layers.")?.parse::<u32>().ok()?).ok()
}

struct Page(String);

impl Page {
    fn line(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.line(format!("\n## {title}\n"));
    }

    /// A list, if there is anything on it. Entries are Markdown already.
    fn list(&mut self, entries: impl Iterator<Item = String>) {
        for (index, entry) in entries.enumerate() {
            self.line(format!("{}- {entry}", if index == 0 { "\n" } else { "" }));
        }
    }

    /// A table, or `nothing` where it would have no rows. Cells are Markdown already.
    fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]], nothing: &str) {
        let columns: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.to_vec()).collect();
        self.rows(&columns, &rows, nothing);
    }

    fn rows(&mut self, head: &[String], rows: &[Vec<String>], nothing: &str) {
        if rows.is_empty() {
            return self.line(nothing);
        }
        self.line(format!("| {} |", head.join(" | ")));
        self.line(format!("|{}", "---|".repeat(head.len())));
        for row in rows {
            self.line(format!("| {} |", row.join(" | ")));
        }
    }

    fn model(&mut self, record: &RunRecord) {
        let model = &record.model;
        self.section("Model");
        self.line(format!("{}, {}.", escape(&model.name), model.source));
        if let Some(name) = &record.settings.experiment {
            self.line(format!("\nExperiment {}.", code(name)));
        }
        if model.stand_in {
            self.line("\nA stand-in for the model that was asked for:");
            self.list(model.unavailable.iter().map(|sentence| escape(sentence)));
        }
        if let Some(revision) = &model.revision {
            self.line(format!("\nRevision {}.", code(revision)));
        }
        self.list(
            model.files.iter().map(|file| format!("{}, sha256 {}", code(&file.path), code(&file.sha256))),
        );
    }

    fn arms(&mut self, record: &RunRecord) {
        self.section("Arms");
        let rows: Vec<_> = (record.arms.iter().enumerate())
            .map(|(index, arm)| {
                let of = arm.model.as_ref().map_or("the same".into(), |model| escape(&model.name));
                [
                    format!("{}{}", escape(&arm.name), if index == 0 { " (reference)" } else { "" }),
                    code(&arm.recipe),
                    escape(&arm.attention),
                    escape(&arm.dtype),
                    escape(&arm.accumulation),
                    if index == 0 { escape(&record.model.name) } else { of },
                ]
            })
            .collect();
        self.table(
            ["arm", "recipe", "attention", "format", "order of summation", "model"],
            &rows,
            "No arms.",
        );

        self.section("Prompts");
        let rows: Vec<_> = (record.prompts.iter().enumerate().take(ROWS))
            .map(|(index, prompt)| {
                let text = prompt
                    .text
                    .as_deref()
                    .map_or_else(|| format!("({})", prompt.unnamed()), |text| escape(&shortened(text, 80)));
                let ids: Vec<String> = prompt.ids.iter().take(12).map(u32::to_string).collect();
                let more = if prompt.ids.len() > ids.len() { ", …" } else { "" };
                [index.to_string(), text, prompt.ids.len().to_string(), format!("{}{more}", ids.join(", "))]
            })
            .collect();
        self.table(["prompt", "text", "tokens", "ids"], &rows, "No prompts were run.");
        self.rest(record.prompts.len(), "prompts");
        self.list(notes(record).iter().map(|said| escape(said)));
    }

    fn rest(&mut self, all: usize, what: &str) {
        if all > ROWS {
            self.line(format!("\nand {} more {what}.", all - ROWS));
        }
    }

    fn weights(&mut self, record: &RunRecord) {
        let weights = &record.weights;
        self.section("Weights");
        if !record.settings.traces.is_empty() {
            self.line("A trace holds activations alone: no weights were compared.");
            return;
        }
        if weights.compared == 0 {
            self.line("No weights were compared.");
            return;
        }
        self.line(format!(
            "{} of {} tensors are bit-identical in every arm.",
            weights.identical, weights.compared
        ));
        if weights.different.is_empty() {
            return;
        }
        self.line("");
        let rows: Vec<_> = (weights.different.iter().take(ROWS))
            .map(|tensor| {
                let [a, b] = &tensor.dtypes;
                [
                    code(&tensor.name),
                    escape(&tensor.arm),
                    escape(&format!("{a}, {b}")),
                    percent(tensor.equal),
                    number(tensor.mean_abs),
                    number(tensor.max_abs),
                    relation(tensor.relation.as_deref()),
                ]
            })
            .collect();
        let head = ["tensor", "arm", "formats", "equal", "mean abs. difference", "max", "relation"];
        self.table(head, &rows, "");
        self.rest(weights.different.len(), "tensors");
    }

    fn buffers(&mut self, record: &RunRecord) {
        self.section("Buffers");
        let rows: Vec<_> = (record.buffers.iter().take(ROWS))
            .map(|buffer| {
                let [a, b] = &buffer.dtypes;
                [
                    code(&buffer.name),
                    escape(&buffer.arm),
                    escape(&format!("{a}, {b}")),
                    if buffer.identical { "identical".into() } else { "**different**".into() },
                    number(buffer.max_abs),
                    number(buffer.max_rel),
                    relation(buffer.relation.as_deref()),
                ]
            })
            .collect();
        let head =
            ["buffer", "arm", "formats", "bits", "max abs. difference", "max rel. difference", "relation"];
        self.table(head, &rows, "No buffers were compared.");
        self.rest(record.buffers.len(), "buffers");
    }

    fn first(&mut self, record: &RunRecord) {
        self.section("Where it starts");
        let rows: Vec<_> = (record.first.iter().take(ROWS))
            .map(|first| {
                let site = match start(record, &first.arm, first.prompt) {
                    Start::At(site) => code(site),
                    other => escape(&other.words()),
                };
                [escape(&first.arm), first.prompt.to_string(), site]
            })
            .collect();
        self.table(["arm", "prompt", "first site that differs"], &rows, "No activations were compared.");
        self.rest(record.first.len(), "entries");
    }

    fn logits(&mut self, record: &RunRecord) {
        self.section("Logits");
        let rows: Vec<_> = (record.logits.iter().take(ROWS))
            .map(|logits| {
                let [a, b] = logits.nonfinite;
                [
                    escape(&logits.arm),
                    logits.prompt.to_string(),
                    percent(logits.equal),
                    number(logits.mean_abs),
                    number(logits.max_abs),
                    if logits.allclose { "yes".into() } else { "no".into() },
                    number(logits.kl),
                    percent(logits.top1_agreement),
                    format!("{a}, {b}"),
                ]
            })
            .collect();
        let head = [
            "arm",
            "prompt",
            "equal",
            "mean abs. difference",
            "max",
            "allclose",
            "KL (nats)",
            "same top token",
            "not finite",
        ];
        self.table(head, &rows, "No logits were compared.");
        self.rest(record.logits.len(), "entries");
    }

    fn layers(&mut self, record: &RunRecord) {
        self.section("By layer");
        self.line("Absolute difference of each block's output from the reference's, mean and largest.");
        for prompt in 0..record.prompts.len().min(PROMPTS) {
            let of_prompt = || record.sites.iter().filter(move |site| site.prompt == prompt);
            let mut layers: Vec<usize> = of_prompt().filter_map(|site| block(&site.site)).collect();
            layers.sort_unstable();
            layers.dedup();
            let arms: Vec<&str> = (record.arms.iter().map(|arm| arm.name.as_str()))
                .filter(|arm| of_prompt().any(|site| site.arm == *arm && block(&site.site).is_some()))
                .collect();
            let mut head = vec!["layer".to_owned()];
            head.extend(
                arms.iter().flat_map(|arm| [format!("{} mean", escape(arm)), format!("{} max", escape(arm))]),
            );
            let rows: Vec<_> = (layers.iter())
                .map(|&layer| {
                    let mut row = vec![layer.to_string()];
                    for arm in &arms {
                        let found =
                            of_prompt().find(|site| site.arm == *arm && block(&site.site) == Some(layer));
                        let cell = |value: fn(&SiteDivergence) -> f64| {
                            let judged = |f| if SiteDivergence::is_blind(f) { f64::NAN } else { value(f) };
                            found.map_or("–".into(), |f| number(judged(f)))
                        };
                        row.extend([cell(|f| f.difference.mean_abs), cell(|f| f.difference.max_abs)]);
                    }
                    row
                })
                .collect();
            self.line(format!("\nPrompt {prompt}:\n"));
            self.rows(&head, &rows, "No block's output was compared.");
        }
        if record.prompts.len() > PROMPTS {
            self.line(format!("\nThe other {} prompts are in the record.", record.prompts.len() - PROMPTS));
        }
    }

    fn introduced(&mut self, record: &RunRecord) {
        self.section("What introduces it");
        self.line(
            "Sites that differ most when they are fed the reference's inputs, beside what arrives there.\n",
        );
        let mut sites: Vec<&SiteDivergence> =
            record.sites.iter().filter(|site| site.introduced.mean_abs != 0.0).collect();
        // NaN first: it is the worst of all, and sorting must not depend on where it stood.
        sites.sort_by(|a, b| b.introduced.mean_abs.total_cmp(&a.introduced.mean_abs));
        let rows: Vec<_> = (sites.iter().take(TOP))
            .map(|site| {
                [
                    code(&site.site),
                    escape(&site.arm),
                    site.prompt.to_string(),
                    number(site.introduced.mean_abs),
                    number(site.introduced.max_abs),
                    percent(site.introduced.equal),
                    number(site.difference.mean_abs),
                ]
            })
            .collect();
        let head = ["site", "arm", "prompt", "introduced, mean", "max", "equal", "accumulated, mean"];
        let nothing = match record.sites.len() {
            0 => "No site was compared.".to_owned(),
            all => format!("None of the {all} sites that were compared introduces a difference."),
        };
        self.table(head, &rows, &nothing);
        if sites.len() > TOP {
            self.line(format!("\n{} more introduce less.", sites.len() - TOP));
        }
    }

    fn coverage(&mut self, record: &RunRecord) {
        self.section("Coverage");
        let coverage = &record.coverage;
        self.line(format!("{} of {} sites were compared.", coverage.compared, coverage.sites));
        self.list(coverage.not_compared.iter().map(|sentence| escape(sentence)));
    }

    fn provenance(&mut self, record: &RunRecord) {
        let p = &record.provenance;
        self.section("How it was run");
        let mut text = format!("ulpscope {} ({}), ", escape(&p.ulpscope), escape(&p.git));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "device {}, {} threads, {}; {}. Started {}, took {:.2} s.",
            escape(&p.device),
            p.threads,
            escape(&p.cpu),
            escape(&p.kernel),
            escape(&p.started),
            p.elapsed_s
        );
        self.line(text);
    }
}

fn relation(found: Option<&str>) -> String {
    found.map_or("–".to_owned(), code)
}

/// Text that Markdown shows as it is, within one table cell.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if unprintable(c) => out.extend(['\\'].into_iter().chain(c.escape_unicode())),
            // Addresses become links by themselves.
            ':' if rest.as_str().starts_with("//") => out.push_str("&#58;"),
            '.' if out.ends_with("www") => out.push_str("&#46;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A name as code, or merely escaped where it has characters that code cannot show in a table.
pub fn code(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '`' | '|' | '\\' | '<' | '>' | '&') || c == ' ';
    if !text.trim().is_empty() && text.chars().all(plain) { format!("`{text}`") } else { escape(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> RunRecord {
        RunRecord::from_json(include_str!("../tests/small.json")).unwrap()
    }

    #[test]
    fn the_page_of_the_small_record() {
        assert_eq!(markdown(&small()), include_str!("../tests/small.md"));
    }

    #[test]
    fn the_section_of_an_explanation() {
        let record = RunRecord::from_json(include_str!("../tests/explained.json")).unwrap();
        let page = markdown(&record);
        let from = page.find("## Causes").unwrap();
        let to = page.find("## Arms").unwrap();
        assert_eq!(&page[from..to], include_str!("../tests/explained.md"));
    }

    #[test]
    fn what_failed_comes_first() {
        let mut record = RunRecord::from_json(include_str!("../tests/explained.json")).unwrap();
        record.settings.failed = vec!["kl 0.5260 > 0.01 (ck_i4, prompt 0)".into()];
        let page = opening(&record, 2);
        assert_eq!(
            page,
            "\
**✗ kl 0.5260 &gt; 0.01 (ck\\_i4, prompt 0)**

## b: load(f32).to(bf16) against a: load(bf16)

tiny-llama, 1 prompt, 3 tokens

**A stand-in for the model that was asked for.**

**NOISE** (proved both ways, to the bit): No token changes, and another order of summation moves the logits as much.

- CAUSE: \\`.to(bfloat16)\\` rounded model.rotary\\_emb.inv\\_freq, which \\`from\\_pretrained(dtype=bfloat16)\\` keeps in f32.
- WHERE: starts at model.rotary\\_emb.cos
- FIX: Load with dtype=torch.bfloat16, or recompute inv\\_freq in f32 after the cast.
- LIMIT: 3 tokens are too few to see faults that grow with position; 2048 or more show them.
"
        );
    }

    #[test]
    fn hostile_text_breaks_nothing() {
        let mut record = small();
        record.prompts[0].text = Some("a | b\n`c` <script>alert(1)</script> & \u{1b}[31m".into());
        record.model.name = "x|y`z\n# more".into();
        record.first[0].site = Some("model.layers.0|`".into());
        let page = markdown(&record);
        assert!(page.contains(r"a \| b \`c\` &lt;script&gt;alert(1)&lt;/script&gt; &amp; "), "{page}");
        assert!(!page.contains("<script") && !page.contains('\u{1b}'));
        assert!(page.contains("\nx\\|y\\`z \\# more, "), "{page}");
        assert!(page.contains(r"| model.layers.0\|\` |"), "{page}");
    }

    #[test]
    fn an_empty_record_says_what_is_missing() {
        let mut record = small();
        record.sites.clear();
        record.logits.clear();
        record.first.clear();
        record.buffers.clear();
        let page = markdown(&record);
        for sentence in
            ["No logits were compared.", "No buffers were compared.", "No block's output was compared."]
        {
            assert!(page.contains(sentence), "{sentence}\n{page}");
        }
    }

    #[test]
    fn a_nan_introduced_leads_the_table() {
        let mut record = small();
        record.sites[1].introduced.mean_abs = f64::NAN;
        let page = markdown(&record);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}\n{page}"));
        assert!(at("| NaN |") < at("| `model.rotary_emb.cos` | b | 0 | 2"), "{page}");
    }

    #[test]
    fn blocks_are_told_from_what_is_inside_them() {
        assert_eq!(block("model.layers.12"), Some(12));
        assert_eq!(block("model.layers.12.mlp"), None);
        assert_eq!(block("model.norm"), None);
    }
}
