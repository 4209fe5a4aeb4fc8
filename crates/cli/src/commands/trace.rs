//! `ulpscope trace`: one arm's activations, to keep or to send.

use std::path::Path;

use anyhow::{Result, bail};
use ulpscope_capture::{Recorder, Trace};
use ulpscope_weights::Arm;

use crate::args::TraceArgs;
use crate::commands::{Outcome, print};
use crate::output::sweep;
use crate::progress::Talk;
use crate::{device, model};

pub(crate) fn run(args: &TraceArgs) -> Result<Outcome> {
    let talk = Talk::new(args.source.quiet);
    let (device, _) = device::open(&args.device)?;
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, &talk)?;
    let prompts = opened.prompts(&args.prompts)?;
    let [prompt] = &prompts[..] else { bail!("a trace holds one prompt, {} were given", prompts.len()) };
    let arm = Arm::new(&opened.checkpoint, args.recipe.recipe.clone());
    if prompt.ids.len() > arm.config().max_tokens() {
        bail!(
            "the prompt has {} tokens, but the model takes at most {}",
            prompt.ids.len(),
            arm.config().max_tokens()
        );
    }
    if let Some(id) = prompt.ids.iter().find(|&&id| id as usize >= arm.config().vocab_size) {
        bail!("token id {id} is not in the vocabulary of {}", arm.config().vocab_size);
    }
    let semantics = args.recipe.semantics(args.attention, args.accumulation, arm.dtype());
    semantics.check(arm.config())?;
    let (llama, _) = arm.load(&device)?;
    let mut recorder = Recorder::new(|site| args.sites.matches(site));
    llama.forward(&prompt.ids, semantics.clone(), &mut recorder);
    if recorder.activations.is_empty() {
        bail!("no site matches `{}`; `ulpscope sites {}` lists them", args.sites, args.model);
    }
    let about = [
        ("model", opened.located.name.clone()),
        ("recipe", args.recipe.recipe.to_string()),
        ("attention", semantics.base.attention.to_string()),
        ("ids", serde_json::to_string(&prompt.ids)?),
        ("accumulation", semantics.base.accumulation.to_string()),
        ("ulpscope", crate::provenance::VERSION.to_owned()),
    ];
    let mut about: std::collections::BTreeMap<_, _> = about.map(|(k, v)| (k.to_owned(), v)).into();
    let variants: Vec<String> = semantics.departures().map(|departure| departure.to_string()).collect();
    if !variants.is_empty() {
        about.insert("variants".to_owned(), variants.join(" "));
    }
    for (name, hash) in opened.checkpoint.sha256()? {
        about.insert(format!("sha256:{name}"), hash);
    }
    opened.checkpoint.unchanged()?;
    if let Some(text) = &prompt.text {
        about.insert("prompt".to_owned(), text.clone());
    }
    let activations = recorder.activations.into_iter().map(|(site, a)| (site.to_string(), a)).collect();
    let trace = Trace { about, activations, skipped: Vec::new() };
    sweep(args.out.parent().unwrap_or(Path::new("")));
    trace.write(&args.out)?;
    print(&format!("{} sites written to {}\n", trace.activations.len(), args.out.display()))?;
    Ok(Outcome::Done)
}
