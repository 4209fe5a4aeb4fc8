//! `ulpscope diff`: two traces, ours or another program's.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use ulpscope_capture::Trace;
use ulpscope_decoder::forward_order;
use ulpscope_metrics::difference;

use crate::args::DiffArgs;
use crate::colour::Ink;
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
            bail!(
                "the traces have no site in common: nothing was compared; {} begins with `{}`, {} with `{}`",
                args.a.display(),
                a.activations.keys().next().map_or("", String::as_str),
                args.b.display(),
                b.activations.keys().next().map_or("", String::as_str)
            );
        }
        let near = suggestions::alike(&args.sites.to_string(), &common);
        bail!("the traces have no site in common that `{}` matches: nothing was compared{near}", args.sites);
    }
    let mut rows = Vec::new();
    let mut not_compared = Vec::new();
    for name in names {
        let (x, y) = (&a.activations[name], &b.activations[name]);
        if x.shape == y.shape {
            rows.push((name.clone(), x.shape.clone(), difference(&x.values, &y.values)?));
        } else {
            not_compared.push(format!("{name}: shape {:?} against {:?}", x.shape, y.shape));
        }
    }
    for (holder, other, trace) in [("a", &b, &a), ("b", &a, &b)] {
        let alone = trace
            .activations
            .keys()
            .filter(|n| !other.activations.contains_key(*n) && args.sites.matches_name(n));
        not_compared.extend(alone.map(|name| format!("{name}: only in {holder}")));
        not_compared.extend(
            trace.skipped.iter().map(|name| format!("{name}: no floating-point numbers in {holder}")),
        );
    }
    drop(stage);
    if args.json {
        let sites: Vec<_> = rows.iter().map(|(site, shape, d)| json!({
            "site": site, "shape": shape, "equal": json_number(d.equal_fraction()),
            "mean_abs": json_number(d.mean_abs()), "max_abs": json_number(d.max_abs), "rms": json_number(d.rms()),
            "cosine": json_number(d.cosine()), "nonfinite": d.nonfinite,
        })).collect();
        let first = rows.iter().find(|(_, _, d)| !d.identical()).map(|(site, ..)| site);
        let found = json!({ "sites": sites, "first": first, "not_compared": not_compared });
        print_json(&found)?;
    } else {
        print(&tables::diff(&rows, &not_compared, Ink::stdout()))?;
    }
    Ok(Outcome::Done)
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
