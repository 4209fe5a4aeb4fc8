//! The first screen of an explanation: what a reader needs, in this order, on 24 rows of 80
//! columns.

use std::path::Path;

use ulpscope_record::summary::{Answer, Part, answer, said_first, strips};
use ulpscope_record::text::{brief, plural, shortened, wrapped};
use ulpscope_record::{RunRecord, Size, Topic};

use crate::colour::{BOLD, Ink, of_consequence};

const COLUMNS: usize = 80;
const ROWS: usize = 24;
/// Rows of one topic, where it has several lines to say, so that none crowds out the others.
const OF_TOPIC: usize = 2;
/// Rows of the headline: what older records say is a paragraph.
const HEADLINE: usize = 5;
/// Rows of what is said before the verdict.
const FIRST: usize = 4;
/// Columns of a bar between its two ends.
const BAR: usize = 33;
/// Columns of a strip; of more layers, several share one.
const STRIP: usize = 64;
/// Columns of a strip that leave room for its legend.
const BESIDE: usize = 46;

/// How the run ends, for the last line.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ending<'a> {
    /// The exit status.
    pub(crate) status: u8,
    /// Where the pages are, if they were asked for.
    pub(crate) folder: Option<&'a Path>,
}

/// The verdict alone: what it means, and the causes.
pub(crate) fn verdict(record: &RunRecord, ink: Ink) -> String {
    let answer = answer(record);
    let mut lines = first(record).concat();
    lines.extend(headline(&answer, ink));
    lines.extend(of_topic(&answer, Topic::Cause, "  ").into_iter().flatten());
    lines.join("\n") + "\n"
}

/// The whole screen.
pub(crate) fn screen(record: &RunRecord, ending: Ending<'_>, ink: Ink) -> String {
    let answer = answer(record);
    let mut rest = Vec::new();
    for topic in [Topic::Fix, Topic::Limit] {
        rest.extend(titled(&answer, topic, ink));
    }
    rest.extend(last(record, &answer, ending));
    let mut parts = vec![
        [compared(record, &answer), limited(first(record), FIRST)].concat(),
        limited(vec![headline(&answer, ink)], HEADLINE),
        measured(&answer),
        Vec::new(),
        places(record, &answer, ink),
        rest,
    ];
    let causes = of_topic(&answer, Topic::Cause, "  ");
    if !causes.is_empty() {
        let proof = if answer.proof.is_empty() { String::new() } else { format!("  ({})", answer.proof) };
        let room = ROWS.saturating_sub(parts.iter().map(Vec::len).sum::<usize>() + 1);
        parts[CAUSES].push(ink.paint(BOLD, "CAUSE") + &proof);
        parts[CAUSES].extend(limited(causes, room.max(OF_TOPIC)));
    }
    parts.retain(|lines| !lines.is_empty());
    // Empty lines between the parts, as many as there is room for.
    let room = ROWS.saturating_sub(parts.iter().map(Vec::len).sum());
    let mut screen = String::new();
    for (at, lines) in parts.iter().enumerate() {
        if (1..=room).contains(&at) {
            screen.push('\n');
        }
        lines.iter().for_each(|line| screen += &format!("{line}\n"));
    }
    screen
}

/// Where causes stand among the parts.
const CAUSES: usize = 3;

/// The two, a line each.
fn compared(record: &RunRecord, answer: &Answer) -> Vec<String> {
    let wide = |texts: &[String; 2], most: usize| {
        texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).min(most)
    };
    let [arm, name, recipe] = [(&answer.arms, 12), (&answer.compared, 40), (&answer.recipes, 40)]
        .map(|(texts, most)| wide(texts, most));
    let tokens: usize = record.prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let model = answer.model.as_ref().map_or(String::new(), |model| format!("{}, ", shortened(model, 30)));
    let prompts = format!("{model}{}, {}", plural(record.prompts.len(), "prompt"), plural(tokens, "token"));
    let right = ["reference".to_owned(), prompts];
    let line = |side: usize| {
        let [a, n, r] = [(&answer.arms, arm), (&answer.compared, name), (&answer.recipes, recipe)]
            .map(|(texts, width)| format!("{:<width$}", shortened(&texts[side], width)));
        let left = format!("{a}  {n}  {r}").trim_end().to_owned();
        let gap = COLUMNS.saturating_sub(left.chars().count() + right[side].chars().count());
        match gap {
            0..2 => wrapped_under(&left, &right[side]),
            _ => vec![format!("{left}{}{}", " ".repeat(gap), right[side])],
        }
    };
    [0, 1].into_iter().flat_map(line).collect()
}

/// Two texts that do not fit beside each other.
fn wrapped_under(left: &str, right: &str) -> Vec<String> {
    vec![shortened(left, COLUMNS), format!("{right:>COLUMNS$}")]
}

/// Where tokenizers differ, or a trace is said to be of something else.
fn first(record: &RunRecord) -> Vec<Vec<String>> {
    said_first(record).iter().map(|said| wrapped(&format!("NOTE {said}"), COLUMNS)).collect()
}

/// The badge, and the answer beside it.
fn headline(answer: &Answer, ink: Ink) -> Vec<String> {
    let indent = answer.badge.chars().count() + 3;
    let lines = wrapped(&answer.headline, COLUMNS - indent);
    let badge = ink.paint(of_consequence(answer.consequence), answer.badge);
    let line = |(at, line): (usize, &String)| match at {
        0 => format!("{badge}   {line}"),
        _ => format!("{}{line}", " ".repeat(indent)),
    };
    lines.iter().enumerate().map(line).map(|line| line.trim_end().to_owned()).collect()
}

/// How far apart the logits are, beside noise on one axis, and what that does to tokens.
fn measured(answer: &Answer) -> Vec<String> {
    let size = &answer.size;
    let arm = shortened(&answer.arms[1], 12);
    let width = arm.chars().count().max(5);
    let axis = Axis::of([size.kl, size.floor_kl, size.floor_most]);
    let row = |before: &str, name: &str, value: f64, bar: String, after: String| {
        let value = if value.is_nan() { "–".to_owned() } else { brief(value) };
        format!("  {before:<4} {name:<width$}  {value:<8} {bar}  {after}").trim_end().to_owned()
    };
    let mut lines = Vec::new();
    if size.kl.is_nan() {
        lines.push("  KL   not measured".to_owned());
    } else {
        if !size.floor_kl.is_nan() {
            let bar = axis.as_ref().map_or(String::new(), |axis| axis.bar(size.floor_kl, size.floor_most));
            let ends =
                axis.as_ref().map_or(String::new(), |axis| format!("1e{} … 1e{}, log", axis.low, axis.high));
            lines.push(row("KL", "noise", size.floor_kl, bar, ends));
        }
        let bar = axis.as_ref().map_or(String::new(), |axis| axis.bar(size.kl, size.kl));
        let before = if lines.is_empty() { "KL" } else { "" };
        lines.push(row(before, &arm, size.kl, bar, ratio(size)));
    }
    lines.extend(tokens(size).map(|tokens| format!("  {tokens}")));
    lines
}

/// How many times as much as noise, where both are more than nothing.
fn ratio(size: &Size) -> String {
    let ratio = size.kl / size.floor_kl;
    if ratio.is_finite() && ratio > 0.0 { format!("{} x noise", brief(ratio)) } else { String::new() }
}

/// What happens to the most likely tokens.
fn tokens(size: &Size) -> Option<String> {
    let clear = match size.clear_flips {
        0 => String::new(),
        clear => format!(" ({clear} clearly)"),
    };
    let part = match (size.continued, size.parts_at) {
        (0, _) => String::new(),
        (continued, None) => format!("; continuations agree for {}", plural(continued, "token")),
        (continued, Some(at)) => format!("; continuations part at token {at} of {continued}"),
    };
    (size.positions > 0).then(|| format!("{} of {} top tokens flip{clear}{part}", size.flips, size.positions))
}

/// A logarithmic axis over whole decades.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// None where nothing has a logarithm.
    fn of(values: [f64; 3]) -> Option<Self> {
        let logs = || values.into_iter().filter(|v| *v > 0.0 && v.is_finite()).map(f64::log10);
        let (low, high) = (logs().reduce(f64::min)?.floor() as i32, logs().reduce(f64::max)?.ceil() as i32);
        Some(Axis { low, high: high.max(low + 1) })
    }

    /// A bar to the one value, and fainter to the other.
    fn bar(&self, to: f64, faint: f64) -> String {
        let cells = |value: f64| match value {
            value if value == f64::INFINITY => BAR,
            value if value > 0.0 => {
                let share = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
                ((share * BAR as f64).round() as usize).clamp(1, BAR)
            }
            _ => 0,
        };
        let (solid, all) = (cells(to), cells(faint).max(cells(to)));
        format!("|{}{}{}|", "=".repeat(solid), "-".repeat(all - solid), " ".repeat(BAR - all))
    }
}

/// Where it starts, and which parts of the layers add to it.
fn places(record: &RunRecord, answer: &Answer, ink: Ink) -> Vec<String> {
    let strips = strips(record);
    let mut lines = titled(answer, Topic::Where, ink);
    if !strips.layers.is_empty() || !strips.outside.is_empty() {
        if lines.is_empty() {
            lines.push(ink.paint(BOLD, Topic::Where.name()));
        }
        let each = strips.layers.len().div_ceil(STRIP).max(1);
        let cells = strips.layers.len().div_ceil(each);
        if cells > 0 {
            let scale = (0..cells).step_by(5).map(|cell| format!("{:<5}", cell * each));
            lines.push(format!("  layer  {}", scale.collect::<String>().trim_end()));
            for (part, name) in ["attn", "mlp"].into_iter().enumerate() {
                let strip = strips.layers.chunks(each).map(|layers| {
                    match layers.iter().map(|parts| parts[part]).max() {
                        Some(Part::Adds) => '#',
                        Some(Part::Quiet) => '.',
                        _ => '?',
                    }
                });
                lines.push(format!("  {name:<5}  {}", strip.collect::<String>()));
            }
            // Beside the strips, if there is room.
            let unseen = strips.layers.iter().flatten().any(|part| *part == Part::Unseen);
            let legend =
                [if unseen { "? not compared" } else { "" }, "# adds more than noise", ". adds no more"];
            let from = lines.len() - 3;
            match cells <= BESIDE {
                true => (lines[from..].iter_mut().zip(legend))
                    .for_each(|(line, legend)| *line = format!("{line:<width$}{legend}", width = 12 + cells)),
                false => lines.push(format!("         {}", legend.join("   ").trim_start())),
            }
            lines[from..].iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
        }
        if !strips.outside.is_empty() {
            let names = few(&strips.outside, 3);
            lines.extend(hanging(&format!("outside the layers: {names}"), "  ", "    "));
        }
    }
    lines
}

/// The last line: what it took, what was compared, how it ends and where the rest is.
fn last(record: &RunRecord, answer: &Answer, ending: Ending<'_>) -> Vec<String> {
    let [compared, asked] = answer.size.sites;
    let seconds = record.provenance.elapsed_s;
    let took = if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") };
    let rest = match ending.folder {
        Some(folder) => format!("page: {}", folder.join("report.html").display()),
        None => "-v: all tables, --out DIR: a page".to_owned(),
    };
    hanging(&format!("{took}, {compared} of {asked} sites, exit {}; {rest}", ending.status), "", "  ")
}

/// The first rows of a topic, behind its name.
fn titled(answer: &Answer, topic: Topic, ink: Ink) -> Vec<String> {
    let mut lines = limited(of_topic(answer, topic, "       "), OF_TOPIC);
    if let Some(first) = lines.first_mut() {
        *first = ink.paint(BOLD, &format!("{:<7}", topic.name())) + first.trim_start();
    }
    lines
}

/// Each row of a topic, wrapped.
fn of_topic(answer: &Answer, topic: Topic, indent: &str) -> Vec<Vec<String>> {
    let rows = answer.rows.iter().filter(|row| row.topic == topic);
    let more = if indent.len() < 7 { format!("{indent}  ") } else { indent.to_owned() };
    rows.map(|row| hanging(&row.text, indent, &more)).collect()
}

/// Lines with an indent of their own for the first.
fn hanging(text: &str, first: &str, more: &str) -> Vec<String> {
    let lines = wrapped(text, COLUMNS - more.len());
    let line = |(at, line): (usize, &String)| format!("{}{line}", if at == 0 { first } else { more });
    lines.iter().enumerate().map(line).collect()
}

/// As many rows as there is room for, cut if the first one has not, and how many more there are.
fn limited(rows: Vec<Vec<String>>, room: usize) -> Vec<String> {
    if rows.iter().map(Vec::len).sum::<usize>() <= room {
        return rows.into_iter().flatten().collect();
    }
    let indent: String = rows[0][0].chars().take_while(|c| *c == ' ').collect();
    let (all, mut shown, mut kept) = (rows.len(), 0, Vec::new());
    for row in rows {
        let room =
            room.saturating_sub(kept.len() + usize::from(shown + 1 < all)).max(usize::from(shown == 0));
        if shown > 0 && row.len() > room {
            break;
        }
        let cut = row.len() > room;
        kept.extend(row.into_iter().take(room));
        shown += 1;
        if let Some(line) = kept.last_mut().filter(|_| cut) {
            *line = shortened(line, COLUMNS - 2) + " …";
            break;
        }
    }
    if shown < all {
        kept.push(format!("{indent}and {} more: -v", all - shown));
    }
    kept
}

/// The first of many names.
fn few(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(schema: u32) -> RunRecord {
        let text = match schema {
            1 => include_str!("../../record/tests/explained-1.json"),
            _ => include_str!("../../record/tests/explained.json"),
        };
        RunRecord::from_json(text).unwrap()
    }

    fn fits(screen: &str) {
        assert!(screen.lines().count() <= ROWS, "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= COLUMNS), "{screen}");
    }

    #[test]
    fn a_cause_is_one_screen() {
        let screen = screen(&explained(2), Ending::default(), Ink::PLAIN);
        fits(&screen);
        assert_eq!(
            screen,
            "\
a  load(bf16)                                                          reference
b  load(f32).to(bf16)                             tiny-llama, 1 prompt, 3 tokens

NOISE   No token changes, and another order of summation moves the logits as
        much.

  KL   noise  0.0015   |======--                         |  1e-3 … 1e-2, log
       b      0.0014   |=====                            |  0.92 x noise
  0 of 3 top tokens flip; continuations part at token 3 of 64

CAUSE  (proved both ways, to the bit)
  `.to(bfloat16)` rounded model.rotary_emb.inv_freq, which
    `from_pretrained(dtype=bfloat16)` keeps in f32.

WHERE  starts at model.rotary_emb.cos
  layer  0    ? not compared
  attn   ??   # adds more than noise
  mlp    ..   . adds no more
  outside the layers: model.rotary_emb.cos, model.rotary_emb.sin
FIX    Load with dtype=torch.bfloat16, or recompute inv_freq in f32 after the
       cast.
LIMIT  3 tokens are too few to see faults that grow with position; 2048 or more
       show them.
1.5 s, 3 of 64 sites, exit 0; -v: all tables, --out DIR: a page
"
        );
    }

    #[test]
    fn every_string_of_a_record_stays_text_on_a_terminal() {
        let reads = |text: &str| RunRecord::from_json(text).is_ok();
        let json = include_str!("../../record/tests/explained.json");
        for json in ulpscope_fuzzing::hostile(json, reads) {
            let run = RunRecord::from_json(&json).unwrap();
            let shown = run.printable();
            let ending = || Ending { status: 0, folder: None };
            let (screen, verdict) = (screen(&shown, ending(), Ink::PLAIN), verdict(&shown, Ink::PLAIN));
            for text in [screen, verdict, crate::tables::record(&shown, Ink::PLAIN)] {
                assert_eq!(ulpscope_fuzzing::injected(&text), None);
            }
            let json = ulpscope_record::text::printable_json(&run.to_json().unwrap()).into_owned();
            assert_eq!(ulpscope_fuzzing::injected(&json), None);
            let read = RunRecord::from_json(&json).unwrap();
            assert_eq!(read.to_json().unwrap(), run.to_json().unwrap());
        }
    }

    #[test]
    fn what_an_older_record_says_is_shown() {
        let screen = screen(&explained(1), Ending { status: 0, folder: Some(Path::new("run")) }, Ink::PLAIN);
        fits(&screen);
        for part in [
            "EXPLAINED   Rounding of the rotary frequencies",
            "CAUSE  (proved both ways, to the bit)\n  rotary buffer rounded by a dtype cast",
            "WHERE  first seen at model.rotary_emb.cos",
            "FIX    Load in bf16",
            "LIMIT  3 tokens are too few",
            "1.5 s, 3 of 64 sites, exit 0; page: run",
        ] {
            assert!(screen.contains(part), "{part}\n{screen}");
        }
    }

    #[test]
    fn the_verdict_alone_and_in_colour() {
        let run = explained(2);
        let plain = verdict(&run, Ink::PLAIN);
        assert_eq!(plain.lines().count(), 4, "{plain}");
        let coloured = verdict(&run, Ink::COLOURED);
        assert!(coloured.starts_with("\x1b[1mNOISE\x1b[0m   No token"), "{coloured:?}");
    }

    #[test]
    fn many_causes_and_layers_leave_no_screen_too_long() {
        let mut run = explained(2);
        let explanation = run.explanation.as_mut().unwrap();
        let judgement = explanation.judgement.as_mut().unwrap();
        let cause = judgement.rows[0].clone();
        judgement.rows.extend(vec![cause; 40]);
        judgement.size.kl = f64::INFINITY;
        for layer in 0..126 {
            let mut origin = explanation.origins[0].clone();
            origin.site = format!("model.layers.{layer}.mlp.down_proj");
            explanation.origins.push(origin);
        }
        let screen = screen(&run, Ending::default(), Ink::PLAIN);
        fits(&screen);
        assert!(screen.contains("more: -v") && screen.contains("inf"), "{screen}");
        // One sentence that is too long is cut.
        let judgement = run.explanation.as_mut().unwrap().judgement.as_mut().unwrap();
        judgement.rows.truncate(4);
        judgement.rows.iter_mut().for_each(|row| row.text = "words and more words ".repeat(60));
        let screen = self::screen(&run, Ending::default(), Ink::PLAIN);
        fits(&screen);
        assert_eq!(screen.lines().filter(|line| line.ends_with(" …")).count(), 4, "{screen}");
    }

    #[test]
    fn an_undecided_judgement_is_told_from_the_others() {
        let mut run = explained(2);
        run.explanation.as_mut().unwrap().judgement.as_mut().unwrap().consequence =
            ulpscope_record::Consequence::Undecided;
        assert!(verdict(&run, Ink::PLAIN).starts_with("UNDECIDED   No token"));
    }

    #[test]
    fn what_was_not_measured_has_no_bar() {
        let mut run = explained(2);
        let judgement = run.explanation.as_mut().unwrap().judgement.as_mut().unwrap();
        (judgement.size.kl, judgement.size.floor_kl) = (f64::NAN, f64::NAN);
        let screen = screen(&run, Ending::default(), Ink::PLAIN);
        assert!(screen.contains("KL   not measured") && !screen.contains("NaN"), "{screen}");
    }
}
