//! `ulpscope diff`: two traces, ours or another program's.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use ulpscope_capture::Trace;
use ulpscope_compare::{Beside, Jump, jumps};
use ulpscope_decoder::forward_order;
use ulpscope_metrics::{Difference, LogitDifference, compare_logits, difference};

use crate::args::DiffArgs;
use crate::commands::{Outcome, json_number, print, print_json};
use crate::progress::Talk;
use crate::{suggestions, tables};

pub(crate) fn run(args: &DiffArgs, talk: &Talk) -> Result<Outcome> {
    let stage = talk.stage("comparing");
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    if let (Some(ours), Some(theirs)) = (a.about.get("ids"), b.about.get("ids"))
        && !same_ids(ours, theirs)
    {
        bail!("the traces are of different prompts: {ours} against {theirs}");
    }
    let mut names: Vec<&String> = a.activations.keys().filter(|n| b.activations.contains_key(*n)).collect();
    names.retain(|name| args.sites.matches_name(name));
    // Our own sites in forward order; names we do not know, by name, at the end.
    names.sort_by_key(|name| {
        (forward_order(name).map_or((1, None), |place| (0, Some(place))), (*name).clone())
    });
    if names.is_empty() {
        let common = a.activations.keys().filter(|name| b.activations.contains_key(*name));
        let common: Vec<String> = common.cloned().collect();
        if common.is_empty() {
            return Ok(Outcome::Undecided(format!(
                "the traces have no site in common: nothing was compared; {} begins with `{}`, {} with `{}`",
                args.a.display(),
                a.activations.keys().next().map_or("", String::as_str),
                args.b.display(),
                b.activations.keys().next().map_or("", String::as_str)
            )));
        }
        let near = suggestions::alike(&args.sites.to_string(), &common);
        return Ok(Outcome::Undecided(format!(
            "the traces have no site in common that `{}` matches: nothing was compared{near}",
            args.sites
        )));
    }
    let mut found = Found::default();
    for name in names {
        let (x, y) = (&a.activations[name], &b.activations[name]);
        if x.shape != y.shape {
            found.not_compared.push(format!("{name}: shape {:?} against {:?}", x.shape, y.shape));
            continue;
        }
        if name == LOGITS {
            let vocabulary = x.shape.last().copied().unwrap_or(1);
            found.logits = compare_logits(&x.values, &y.values, vocabulary, 1).ok();
        }
        let beside = Beside::of(name, &x.values, &y.values);
        found.rows.push((x.shape.clone(), difference(&x.values, &y.values)?));
        found.sites.push(beside);
    }
    found.jumps = jumps(&found.sites);
    for (side, other, trace) in [(0, &b, &a), (1, &a, &b)] {
        let alone = |name: &&String| !other.activations.contains_key(*name) && args.sites.matches_name(name);
        found.only_in[side] = trace.activations.keys().filter(alone).cloned().collect();
        let holder = ["a", "b"][side];
        let skipped =
            trace.skipped.iter().map(|name| format!("{name}: no floating-point numbers in {holder}"));
        found.not_compared.extend(skipped);
    }
    drop(stage);
    if args.json {
        print_json(&found.json())?;
    } else {
        print(&tables::diff(&found, args.all))?;
    }
    if found.sites.is_empty() {
        return Ok(Outcome::Undecided("nothing was compared: no site has the same shape in both".to_owned()));
    }
    Ok(Outcome::Done)
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
    /// Sites that only the first trace has, and only the second.
    pub(crate) only_in: [Vec<String>; 2],
    /// What else was not compared, and why.
    pub(crate) not_compared: Vec<String>,
}

impl Found {
    /// Sites that are bit-equal, that differ, and that were not compared.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let equal = self.rows.iter().filter(|(_, d)| d.identical()).count();
        let alone: usize = self.only_in.iter().map(Vec::len).sum();
        [equal, self.rows.len() - equal, alone + self.not_compared.len()]
    }

    /// The first site that differs.
    pub(crate) fn first(&self) -> Option<&str> {
        let mut all = self.sites.iter().zip(&self.rows);
        all.find(|(_, (_, d))| !d.identical()).map(|(site, _)| site.site.as_str())
    }

    /// Positions at which the most likely token flips.
    pub(crate) fn flips(logits: &LogitDifference) -> usize {
        logits.positions.iter().filter(|position| !position.agrees()).count()
    }

    fn json(&self) -> serde_json::Value {
        let sites = self.sites.iter().zip(&self.rows).map(|(one, (shape, d))| {
            json!({
                "site": one.site, "shape": shape, "equal": json_number(d.equal_fraction()),
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
        let [equal, differ, absent] = self.counts();
        json!({
            "sites": sites.collect::<Vec<_>>(), "first": self.first(),
            "jumps": jumps.collect::<Vec<_>>(), "first_jump": self.jumps.first().map(|jump| &jump.site),
            "logits": logits, "only_in_a": only_in_a, "only_in_b": only_in_b, "not_compared": not_compared,
            "counts": { "equal": equal, "differ": differ, "not_compared": absent },
        })
    }
}

fn read(path: &Path) -> Result<Trace> {
    if !path.exists() {
        bail!("{}: there is no such file; `ulpscope trace MODEL --out FILE` writes one", path.display());
    }
    Ok(Trace::read(path)?)
}

/// Whether two lists of ids are the same: other programs put spaces where we put none.
fn same_ids(a: &str, b: &str) -> bool {
    let list = |text| serde_json::from_str::<Vec<u64>>(text);
    match (list(a), list(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
