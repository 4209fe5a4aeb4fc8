//! `ulpscope trace`: one arm's activations, to keep or to send.

use anyhow::{Result, bail};
use ulpscope_capture::{Recorder, Trace};
use ulpscope_llama::{Accumulation, Arithmetic};
use ulpscope_weights::Arm;

use crate::args::TraceArgs;
use crate::commands::{Outcome, print};
use crate::progress::Talk;
use crate::{device, model};

pub(crate) fn run(args: &TraceArgs) -> Result<Outcome> {
    let talk = Talk::new(args.source.quiet);
    let (device, _) = device::open(&args.device)?;
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, &talk)?;
    let prompts = opened.prompts(&args.prompts)?;
    let [prompt] = &prompts[..] else { bail!("a trace holds one prompt, {} were given", prompts.len()) };
    let arm = Arm::new(&opened.checkpoint, args.recipe.clone());
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
    let accumulation = args.accumulation.unwrap_or(Accumulation::of(arm.dtype()));
    let (llama, _) = arm.load(&device)?;
    let mut recorder = Recorder::new(|site| args.sites.matches(site));
    let arithmetic = Arithmetic { attention: args.attention, accumulation };
    llama.forward(&prompt.ids, arithmetic, &mut recorder);
    if recorder.activations.is_empty() {
        bail!("no site matches `{}`; `ulpscope sites {}` lists them", args.sites, args.model);
    }
    let about = [
        ("model", opened.located.name.clone()),
        ("recipe", args.recipe.to_string()),
        ("attention", args.attention.to_string()),
        ("ids", serde_json::to_string(&prompt.ids)?),
        ("accumulation", accumulation.to_string()),
        ("ulpscope", crate::provenance::VERSION.to_owned()),
    ];
    let mut about: std::collections::BTreeMap<_, _> = about.map(|(k, v)| (k.to_owned(), v)).into();
    for (name, hash) in opened.checkpoint.sha256()? {
        about.insert(format!("sha256:{name}"), hash);
    }
    if let Some(text) = &prompt.text {
        about.insert("prompt".to_owned(), text.clone());
    }
    let activations = recorder.activations.into_iter().map(|(site, a)| (site.to_string(), a)).collect();
    let trace = Trace { about, activations, skipped: Vec::new() };
    trace.write(&args.out)?;
    print(&format!("{} sites written to {}\n", trace.activations.len(), args.out.display()))?;
    Ok(Outcome::Done)
}
