//! `ulpscope sites`: what can be observed in a model.

use anyhow::Result;
use serde_json::json;

use crate::args::SitesArgs;
use crate::commands::{Outcome, print, print_json};
use crate::model;
use crate::progress::Talk;

pub(crate) fn run(args: &SitesArgs, talk: &Talk) -> Result<Outcome> {
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, talk)?;
    let sites = opened.checkpoint.architecture().sites(opened.attention(args.attention));
    if args.json {
        let sites: Vec<_> =
            sites.iter().map(|site| json!({ "site": site.to_string(), "layer": site.layer() })).collect();
        print_json(&json!({ "model": opened.located.name, "sites": sites }))?;
    } else {
        print(&sites.iter().map(|site| format!("{site}\n")).collect::<String>())?;
    }
    Ok(Outcome::Done)
}
