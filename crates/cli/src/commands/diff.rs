//! `ulpscope diff`: two traces, ours or another program's.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use ulpscope_capture::Trace;
use ulpscope_compare::{Beside, Jump, jumps};
use ulpscope_decoder::forward_order;
use ulpscope_floats::{DType, Floats};
use ulpscope_metrics::{Difference, LogitDifference, compare_logits, difference};
use ulpscope_record::text::printable;

use crate::args::DiffArgs;
use crate::commands::{Outcome, json_number, print, print_json};
use crate::progress::Talk;
use crate::{suggestions, tables};

pub(crate) fn run(args: &DiffArgs, talk: &Talk) -> Result<Outcome> {
    let stage = talk.stage("comparing");
    let traces = [read(&args.a)?, read(&args.b)?];
    let ids = traces.each_ref().map(|trace| trace.about.get("ids"));
    if let [Some(ours), Some(theirs)] = ids
        && !same_ids(ours, theirs)
    {
        bail!("the traces are of different prompts: {ours} against {theirs}");
    }
    let mut found = Found::of(&traces, args)?;
    drop(stage);
    if !args.json {
        found.make_printable();
    }
    let nothing = nothing_compared(&found, &traces, args);
    let printed = match nothing {
        _ if args.json => print_json(&found.json()),
        Some(_) => Ok(()),
        None => print(&tables::diff(&found, args.all)),
    };
    let why = nothing.or_else(|| {
        let reasons = found.open_questions(ids.map(|ids| ids.is_some()));
        (!reasons.is_empty()).then(|| format!("undecided: {}", reasons.join("; ")))
    });
    why.map_or(Outcome::Done, |why| Outcome::Undecided(vec![why])).printed(printed)
}

/// Why nothing at all was compared, if so.
fn nothing_compared(found: &Found, [a, b]: &[Trace; 2], args: &DiffArgs) -> Option<String> {
    if !found.sites.is_empty() {
        return None;
    }
    let common: Vec<String> =
        a.activations.keys().filter(|name| b.activations.contains_key(*name)).cloned().collect();
    if common.is_empty() {
        let first = |trace: &Trace| trace.activations.keys().next().cloned().unwrap_or_default();
        return Some(format!(
            "the traces have no site in common: nothing was compared; {} begins with `{}`, {} with `{}`",
            args.a.display(),
            first(a),
            args.b.display(),
            first(b)
        ));
    }
    if !common.iter().any(|name| args.sites.matches_name(name)) {
        let near = suggestions::alike(&args.sites.to_string(), &common);
        return Some(format!(
            "the traces have no site in common that `{}` matches: nothing was compared{near}",
            args.sites
        ));
    }
    let [.., absent] = found.counts();
    Some(format!(
        "nothing was compared: none of {absent} sites is in both with the same shape; {}",
        found.not_compared.first().map_or("", String::as_str)
    ))
}

/// The site whose values are logits.
const LOGITS: &str = "lm_head";

/// What two traces come to.
#[derive(Default)]
pub(crate) struct Found {
    /// Sites that were compared, in forward order.
    pub(crate) sites: Vec<Beside>,
    /// Shape and difference of each.
    pub(crate) rows: Vec<(Vec<usize>, Difference)>,
    /// Sites at which the difference is more than what they inherit.
    pub(crate) jumps: Vec<Jump>,
    /// How far the logits are apart, where both traces have them.
    pub(crate) logits: Option<LogitDifference>,
    /// What the two say of themselves that differs, with what each says.
    pub(crate) about: Vec<(String, [String; 2])>,
    /// Sites that only the first trace has, and only the second.
    pub(crate) only_in: [Vec<String>; 2],
    /// What else was not compared, and why.
    pub(crate) not_compared: Vec<String>,
    /// Sites at which the first trace holds what is no number.
    pub(crate) odd: Vec<String>,
}

impl Found {
    fn of(traces: &[Trace; 2], args: &DiffArgs) -> Result<Self> {
        let [a, b] = traces;
        let mut names: Vec<&String> =
            a.activations.keys().filter(|n| b.activations.contains_key(*n)).collect();
        names.retain(|name| args.sites.matches_name(name));
        // Our own sites in forward order; names we do not know, by name, at the end.
        names.sort_by_key(|name| {
            (forward_order(name).map_or((1, None), |place| (0, Some(place))), (*name).clone())
        });
        let mut found = Found::default();
        for name in names {
            let (x, y) = (&a.activations[name], &b.activations[name]);
            if x.shape != y.shape {
                found.not_compared.push(format!("{name}: shape {:?} against {:?}", x.shape, y.shape));
                continue;
            }
            if x.values.is_empty() {
                found.not_compared.push(format!("{name}: shape {:?} has no elements", x.shape));
                continue;
            }
            if name == LOGITS {
                let vocabulary = x.shape.last().copied().unwrap_or(1);
                found.logits = compare_logits(&x.values, &y.values, vocabulary, 1).ok();
            }
            if holds_no_number(name, &x.values) {
                found.odd.push(name.clone());
            }
            found.sites.push(Beside::of(name, &x.values, &y.values));
            found.rows.push((x.shape.clone(), difference(&x.values, &y.values)?));
        }
        found.jumps = jumps(&found.sites);
        found.about = otherwise(a, b);
        let unread: BTreeSet<&String> =
            traces.iter().flat_map(|t| &t.skipped).filter(|name| args.sites.matches_name(name)).collect();
        for (side, other) in [(0, b), (1, a)] {
            let alone = |name: &&String| {
                !other.activations.contains_key(*name)
                    && !unread.contains(name)
                    && args.sites.matches_name(name)
            };
            found.only_in[side] = traces[side].activations.keys().filter(alone).cloned().collect();
        }
        for name in unread {
            let holders = ["a", "b"].into_iter().zip(traces).filter(|(_, t)| t.skipped.contains(name));
            let holders: Vec<&str> = holders.map(|(holder, _)| holder).collect();
            let said = format!("{name}: not in f64, f32, bf16 or f16 in {}", holders.join(" and "));
            found.not_compared.push(said);
        }
        Ok(found)
    }

    /// Sites that are bit-equal, that hold the same numbers in another format, that differ, and
    /// that were not compared.
    pub(crate) fn counts(&self) -> [usize; 4] {
        let all = || self.sites.iter().zip(&self.rows);
        let same = |formats: bool| {
            all().filter(|(site, (_, d))| d.identical() && site.formats.is_some() == formats).count()
        };
        let (equal, recast) = (same(false), same(true));
        let alone: usize = self.only_in.iter().map(Vec::len).sum();
        [equal, recast, self.rows.len() - equal - recast, alone + self.not_compared.len()]
    }

    /// Sites that are in other formats in the two, and the first of them.
    pub(crate) fn other_formats(&self) -> Option<(usize, &str, [DType; 2])> {
        let mut other = self.sites.iter().filter_map(|site| Some((site.site.as_str(), site.formats?)));
        let (first, formats) = other.next()?;
        Some((other.count() + 1, first, formats))
    }

    /// What keeps the two from being judged, each in words; `ids`: whether each says of which
    /// tokens it is.
    fn open_questions(&self, ids: [bool; 2]) -> Vec<String> {
        let mut open = Vec::new();
        let [.., absent] = self.counts();
        let all = absent + self.rows.len();
        if absent > 0 {
            let [a, b] = self.only_in.each_ref().map(Vec::len);
            let rest = self.not_compared.len();
            let parts = [(a, "only in a"), (b, "only in b"), (rest, "in another shape or format")];
            let parts = parts.into_iter().filter(|(count, _)| *count > 0);
            let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
            open.push(format!("{absent} of {all} sites were not compared ({})", parts.join(", ")));
        }
        if let Some((count, first, [a, b])) = self.other_formats() {
            open.push(format!("{count} of {all} sites differ in format (first {first}, {a} against {b})"));
        }
        if let Some(first) = self.odd.first() {
            let count = self.odd.len();
            open.push(format!(
                "a holds NaN or infinity at {count} of {all} sites (first {first}), next to which nothing is equal"
            ));
        }
        match ids {
            [true, true] => {}
            [false, false] => open.push("neither trace has `ids`, the tokens that it is of".to_owned()),
            [true, false] => open.push("b has no `ids`, the tokens that it is of".to_owned()),
            [false, true] => open.push("a has no `ids`, the tokens that it is of".to_owned()),
        }
        open
    }

    /// Names out of the traces as they may be shown.
    fn make_printable(&mut self) {
        let sites = self.sites.iter_mut().map(|site| &mut site.site);
        let jumps = self.jumps.iter_mut().map(|jump| &mut jump.site);
        let names = sites.chain(jumps).chain(self.only_in.iter_mut().flatten()).chain(&mut self.odd);
        for name in names.chain(&mut self.not_compared) {
            *name = printable(name).into_owned();
        }
    }

    /// The first site that differs.
    pub(crate) fn first(&self) -> Option<&str> {
        let mut all = self.sites.iter().zip(&self.rows);
        all.find(|(_, (_, d))| !d.identical()).map(|(site, _)| site.site.as_str())
    }

    /// Positions at which the most likely token flips, or is none.
    pub(crate) fn flips(logits: &LogitDifference) -> usize {
        logits.positions.iter().filter(|position| !position.agrees() || position.kl.is_nan()).count()
    }

    fn json(&self) -> serde_json::Value {
        let sites = self.sites.iter().zip(&self.rows).map(|(one, (shape, d))| {
            json!({
                "site": one.site, "shape": shape, "formats": one.formats.map(|all| all.map(DType::name)),
                "equal": json_number(d.equal_fraction()),
                "mean_abs": json_number(d.mean_abs()), "max_abs": json_number(d.max_abs),
                "rms": json_number(d.rms()), "cosine": json_number(d.cosine()), "nonfinite": d.nonfinite,
                "relative": json_number(one.relative), "beyond_two_steps": one.far,
            })
        });
        let jumps = self.jumps.iter().map(|jump| {
            json!({
                "site": jump.site, "relative": json_number(jump.relative),
                "inherited": json_number(jump.inherited), "times": json_number(jump.times()),
            })
        });
        let logits = self.logits.as_ref().map(|logits| {
            json!({
                "kl": json_number(logits.mean_kl), "max_kl": json_number(logits.max_kl),
                "top1_agreement": json_number(logits.top1_agreement), "flips": Found::flips(logits),
                "positions": logits.positions.len(),
            })
        });
        let [only_in_a, only_in_b] = &self.only_in;
        let alone = [("a", only_in_a), ("b", only_in_b)]
            .into_iter()
            .flat_map(|(holder, names)| names.iter().map(move |name| format!("{name}: only in {holder}")));
        let not_compared: Vec<String> = self.not_compared.iter().cloned().chain(alone).collect();
        let [equal, recast, differ, absent] = self.counts();
        json!({
            "sites": sites.collect::<Vec<_>>(), "first": self.first(),
            "jumps": jumps.collect::<Vec<_>>(), "first_jump": self.jumps.first().map(|jump| &jump.site),
            "logits": logits, "only_in_a": only_in_a, "only_in_b": only_in_b, "not_compared": not_compared,
            "about": self.about.iter().map(|(key, [a, b])| json!({ "key": key, "a": a, "b": b })).collect::<Vec<_>>(),
            "reference_not_finite": self.odd,
            "counts": {
                "equal": equal, "equal_in_another_format": recast, "differ": differ, "not_compared": absent,
            },
        })
    }
}

/// Whether a tensor holds NaN or infinity. Scores are minus infinity where they are masked.
fn holds_no_number(name: &str, values: &Floats) -> bool {
    let scores = name.ends_with("scores");
    let odd = |x: f64| !(x.is_finite() || scores && x == f64::NEG_INFINITY);
    (0..values.len()).any(|i| odd(values.get(i)))
}

fn read(path: &Path) -> Result<Trace> {
    if !path.exists() {
        bail!("{}: there is no such file; `ulpscope trace MODEL --out FILE` writes one", path.display());
    }
    Ok(Trace::read(path)?)
}

/// What two traces say of themselves that changes what they hold, and that is not the same.
fn otherwise(a: &Trace, b: &Trace) -> Vec<(String, [String; 2])> {
    let named = ["recipe", "attention", "accumulation", "variants", "prompt"];
    let counts = |key: &&String| named.contains(&key.as_str()) || key.starts_with("sha256:");
    let both =
        a.about.keys().filter(counts).filter_map(|key| Some((key, [&a.about[key], b.about.get(key)?])));
    let differ = both.filter(|(_, [a, b])| a != b);
    differ.map(|(key, both)| (key.clone(), both.map(Clone::clone))).collect()
}

/// Whether two lists of ids are the same: other programs put spaces where we put none.
fn same_ids(a: &str, b: &str) -> bool {
    let list = |text| serde_json::from_str::<Vec<u64>>(text);
    match (list(a), list(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
