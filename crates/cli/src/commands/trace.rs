//! `ulpscope trace`: one arm's activations, to keep or to send.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;
use ulpscope_capture::{Recorder, Trace};
use ulpscope_record::summary::tokenizer_words;
use ulpscope_record::text::printable;
use ulpscope_weights::Arm;

use crate::args::TraceArgs;
use crate::commands::{Outcome, arms, print, print_json};
use crate::model::BuiltIn;
use crate::output::{Inputs, sweep};
use crate::progress::Talk;
use crate::{device, model, suggestions, tokenizers};

pub(crate) fn run(args: &TraceArgs, talk: &Talk) -> Result<Outcome> {
    Inputs::of_models([&args.model]).and(&args.prompts.files).spare_file(&args.out)?;
    let (device, _) = device::open(&args.device)?;
    let opened = model::open(std::slice::from_ref(&args.model), &args.source, talk)?;
    let texts = model::texts(&args.prompts, &BuiltIn::SHORT)?;
    let prompts = opened.prompts(&args.prompts, &texts, &BuiltIn::SHORT)?;
    let [prompt] = &prompts[..] else {
        bail!("a trace holds one prompt, {} were given; call `ulpscope trace` once for each", prompts.len())
    };
    opened.notices().iter().for_each(|notice| talk.say(notice));
    let models = std::slice::from_ref(&opened);
    for other in tokenizers::compare(models, ["the model", ""], &texts, &prompts) {
        talk.say(&tokenizer_words("", &other));
    }
    let arm = Arm::new(&opened.checkpoint, args.recipe.recipe.clone());
    if prompt.ids.len() > arm.architecture().max_tokens() {
        bail!(
            "the prompt has {} tokens, but the model takes at most {}; --truncate N shortens it",
            prompt.ids.len(),
            arm.architecture().max_tokens()
        );
    }
    if let Some(id) = prompt.ids.iter().find(|&&id| id as usize >= arm.architecture().vocab) {
        bail!("token id {id} is not in the vocabulary, which ends at {}", arm.architecture().vocab - 1);
    }
    let semantics = args.recipe.semantics(opened.attention(args.attention), args.accumulation, arm.dtype());
    semantics.check(arm.architecture())?;
    talk.detail(|| arms::describe("traced", &arm, &semantics));
    for part in
        suggestions::sites(&args.sites, &[(arm.architecture(), semantics.base.attention)], &args.model)?
    {
        talk.say(&format!("--sites: no site matches `{part}`"));
    }
    let mut stage = talk.stage("loading");
    let (model, _) = arm.load(&device)?;
    stage.next("running");
    let mut recorder = Recorder::new(|site| args.sites.matches(site));
    model.forward(&prompt.ids, semantics.clone(), &mut recorder);
    stage.next("hashing the model's files");
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
    stage.next("writing");
    let activations = recorder.activations.into_iter().map(|(site, a)| (site.to_string(), a)).collect();
    let trace = Trace { about, activations, skipped: Vec::new() };
    sweep(args.out.parent().unwrap_or(Path::new("")));
    trace.write(&args.out)?;
    drop(stage);
    if args.json {
        let sites: Vec<&String> = trace.activations.keys().collect();
        print_json(&json!({ "file": args.out.to_string_lossy(), "about": trace.about, "sites": sites }))?;
        return Ok(Outcome::Done);
    }
    print(&format!(
        "{} sites written to {}\n",
        trace.activations.len(),
        printable(&args.out.to_string_lossy())
    ))?;
    Ok(Outcome::Done)
}
