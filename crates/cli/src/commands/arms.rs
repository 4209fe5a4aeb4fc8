//! From arguments to arms.

use anyhow::Result;
use ulpscope_compare::NamedArm;
use ulpscope_decoder::Semantics;
use ulpscope_weights::{Arm, Recipe};

use crate::args::{ArmArgs, ArmSpec, SourceArgs};
use crate::model::{self, Opened};
use crate::progress::Talk;

/// The sources of each model that was named.
pub(crate) fn sources(args: &ArmArgs) -> Vec<Vec<String>> {
    let mut sources: Vec<Vec<String>> = args.models.iter().map(|m| vec![m.clone()]).collect();
    sources[0].extend(args.fallback.iter().cloned());
    sources
}

/// Opens the models: one, or one for each of the first two arms.
pub(crate) fn open(args: &ArmArgs, source: &SourceArgs, talk: &Talk) -> Result<Vec<Opened>> {
    let mut models: Vec<Opened> =
        sources(args).iter().map(|sources| model::open(sources, source, talk)).collect::<Result<_>>()?;
    if let [first, second] = &mut models[..] {
        let configs = [first.checkpoint.architecture().clone(), second.checkpoint.architecture().clone()];
        for (model, other) in [(first, &configs[1]), (second, &configs[0])] {
            for said in model.checkpoint.write_like(other) {
                talk.say(&format!(
                    "{}: {said}, so that it can be compared; that changes nothing",
                    model.located.name
                ));
            }
        }
    }
    Ok(models)
}

/// The arms, the reference first.
pub(crate) fn build<'a>(args: &ArmArgs, models: &'a [Opened], talk: &Talk) -> Result<Vec<NamedArm<'a>>> {
    let second = match (&args.b, models.len()) {
        (Some(b), _) => b.clone(),
        (None, 1) => ArmSpec::of("load(f32).to(bf16)".parse::<Recipe>()?),
        (None, _) => args.a.clone(),
    };
    let specs = [("a", &args.a), ("b", &second)];
    let specs = specs.into_iter().chain(args.more.iter().map(|more| (more.name.as_str(), &more.spec)));
    let arm = |(i, (name, spec)): (usize, (&str, &ArmSpec))| {
        let model = &models[if i == 1 { models.len() - 1 } else { 0 }];
        let arm = Arm::new(&model.checkpoint, spec.recipe.clone());
        let semantics = spec.semantics(model.attention(args.attention), args.accumulation, arm.dtype());
        semantics.check(arm.architecture())?;
        talk.detail(|| describe(name, &arm, &semantics));
        Ok(NamedArm { name: name.to_owned(), semantics, arm })
    };
    specs.enumerate().map(arm).collect()
}

/// An arm in a line: what is done to the weights, and how it computes.
pub(crate) fn describe(name: &str, arm: &Arm, semantics: &Semantics) -> String {
    let departures: String = semantics.departures().map(|departure| format!(", {departure}")).collect();
    let base = &semantics.base;
    format!(
        "arm {name}: {}, {}, {}, summed {}{departures}",
        arm.recipe(),
        arm.dtype(),
        base.attention,
        base.accumulation
    )
}
