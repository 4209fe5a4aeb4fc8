//! `ulpscope plot`: the pictures of a finished run.

use anyhow::Result;
use ulpscope_plot::{Options, draw_all};

use crate::args::PlotArgs;
use crate::commands::{Outcome, print_files, runs};
use crate::output::{Inputs, sweep};
use crate::progress::Talk;

pub(crate) fn run(args: &PlotArgs, talk: &Talk) -> Result<Outcome> {
    let stage = talk.stage("drawing");
    let (path, record) = runs::read(&args.run)?;
    let beside = path.parent().unwrap_or(&path).to_owned();
    let layer = args.layer.unwrap_or_else(|| ulpscope_record::summary::first_layer(&record));
    let options = Options { svg: args.svg, layer, prompt: args.prompt, arm: args.arm.clone() };
    let folder = args.out.as_ref().unwrap_or(&beside);
    Inputs::default().and(std::slice::from_ref(&path)).spare_folder(folder, ulpscope_plot::is_figure)?;
    sweep(folder);
    let files = draw_all(&record, folder, &options)?;
    drop(stage);
    let others = record.arms.len() - 1;
    if others > ulpscope_plot::ARMS && args.arm.is_none() {
        let first = ulpscope_plot::ARMS;
        talk.say(&format!(
            "pictures of the first {first} of {others} arms; --arm NAME draws those of another"
        ));
    }
    print_files(&files, args.json)?;
    Ok(Outcome::Done)
}
