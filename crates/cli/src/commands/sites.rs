//! `ulpscope sites`: what can be observed in a model.

use std::io::Write;

use anyhow::Result;
use ulpscope_llama::Site;

use crate::args::SitesArgs;
use crate::commands::Outcome;
use crate::model;
use crate::progress::Talk;

pub(crate) fn run(args: &SitesArgs) -> Result<Outcome> {
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, &Talk::new(args.source.quiet))?;
    let mut out = std::io::stdout().lock();
    for site in Site::all(opened.checkpoint.config(), args.attention) {
        writeln!(out, "{site}")?;
    }
    Ok(Outcome::Done)
}
