//! `ulpscope weights`: state dicts and buffers, no forward pass.

use anyhow::{Result, bail};
use serde_json::json;
use ulpscope_compare::{NamedArm, compare_weights};
use ulpscope_decoder::RotaryEmbedding;
use ulpscope_floats::Floats;
use ulpscope_metrics::difference;
use ulpscope_record::Corner;
use ulpscope_relations::relation;

use crate::args::WeightsArgs;
use crate::colour::Ink;
use crate::commands::{Outcome, arms, json_number, print, print_json};
use crate::progress::Talk;
use crate::{tables, torch};

pub(crate) fn run(args: &WeightsArgs, talk: &Talk) -> Result<Outcome> {
    let models = arms::open(&args.arms, &args.source, talk)?;
    let arms = arms::build(&args.arms, &models, talk)?;
    if let Some(name) = &args.tensor {
        return tensor(&arms, name, args.json);
    }
    let stage = talk.stage("comparing");
    let findings = compare_weights(&arms, |step| stage.step(step.done, step.total))?;
    drop(stage);
    models.iter().try_for_each(|model| model.checkpoint.unchanged())?;
    if args.json {
        let found =
            json!({ "arms": findings.arms, "weights": findings.weights, "buffers": findings.buffers });
        print_json(&found)?;
    } else {
        let state = tables::weights(&findings.arms, &findings.weights, &findings.buffers, Ink::stdout());
        print(&(tables::arms(&findings.arms) + &state))?;
    }
    Ok(Outcome::Done)
}

/// One tensor in every arm, and how it differs from the reference's.
fn tensor(arms: &[NamedArm], name: &str, json: bool) -> Result<Outcome> {
    let mut reference: Option<(Vec<usize>, Floats)> = None;
    let (mut found, mut apart) = (Vec::new(), Vec::new());
    for NamedArm { name: arm_name, arm, .. } in arms {
        let (rotary, of) = (arm.rotary().0, arm.architecture());
        let buffer = rotary.iter().flat_map(RotaryEmbedding::buffers).find(|(buffer, _)| *buffer == name);
        let (shape, values) = if let Some((_, values)) = buffer {
            (vec![values.len()], values.clone())
        } else {
            let tied = of.tied && name == of.head_weight();
            let stored = arm.checkpoint().tensor(if tied { of.embedding_weight() } else { name })?;
            (stored.shape.clone(), arm.parameter(&stored).0.into_owned())
        };
        let corner = corner(&shape, &values)?;
        if !json {
            let shown = torch::tensor(&corner);
            print(&format!("{name} in {arm_name}: {}, {shape:?}\n{shown}\n", arm.recipe()))?;
        }
        let about = json!({ "arm": arm_name, "recipe": arm.recipe().to_string(), "corner": corner });
        let Some((of_reference, reference)) = &reference else {
            reference = Some((shape, values));
            found.push(about);
            continue;
        };
        if *of_reference != shape {
            apart.push(format!(
                "{name} in {arm_name} was not compared: shape {of_reference:?} against {shape:?}"
            ));
            let mut about = about;
            about["against_reference"] = json!(null);
            found.push(about);
            continue;
        }
        let d = difference(reference, &values)?;
        let same = reference.dtype() == values.dtype() && d.identical();
        let related = relation(reference, &values).map(|r| r.to_string());
        if json {
            let mut about = about;
            about["against_reference"] = json!({
                "identical": same,
                "equal": json_number(d.equal_fraction()),
                "mean_abs": json_number(d.mean_abs()),
                "max_abs": json_number(d.max_abs),
                "relation": related,
            });
            found.push(about);
            continue;
        }
        print(&format!(
            "{}: equal {}, mean |a-b| {}, max |a-b| {}, {}\n\n",
            if same { "identical" } else { "different" },
            ulpscope_record::text::percent(d.equal_fraction()),
            ulpscope_record::text::number(d.mean_abs()),
            ulpscope_record::text::number(d.max_abs),
            related.as_deref().unwrap_or("no simple relation found"),
        ))?;
    }
    if json {
        print_json(&json!({ "tensor": name, "arms": found }))?;
    }
    Ok(if apart.is_empty() { Outcome::Done } else { Outcome::Undecided(apart) })
}

fn corner(shape: &[usize], values: &Floats) -> Result<Corner> {
    let (rows, columns) = match *shape {
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => bail!("a tensor of shape {shape:?} can't be shown"),
    };
    let edges = |len: usize| -> Vec<usize> {
        if len <= 6 { (0..len).collect() } else { (0..3).chain(len - 3..len).collect() }
    };
    let row = |r: usize| edges(columns).into_iter().map(|c| values.get(r * columns + c)).collect();
    Ok(Corner {
        shape: shape.to_vec(),
        dtype: values.dtype().to_string(),
        rows: edges(rows).into_iter().map(row).collect(),
    })
}
