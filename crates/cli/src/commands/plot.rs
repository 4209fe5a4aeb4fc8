//! `ulpscope plot`: the pictures of a finished run.

use std::path::PathBuf;

use anyhow::Result;
use ulpscope_plot::{Options, draw_all};
use ulpscope_record::RunRecord;

use crate::args::PlotArgs;
use crate::commands::{Outcome, print};
use crate::output::sweep;

pub(crate) fn run(args: &PlotArgs) -> Result<Outcome> {
    let path = if args.run.is_dir() { args.run.join("record.json") } else { args.run.clone() };
    let record = RunRecord::read(&path)?;
    let beside = path.parent().map(PathBuf::from).unwrap_or_default();
    let options = Options { svg: args.svg, layer: args.layer, prompt: args.prompt };
    let folder = args.out.as_ref().unwrap_or(&beside);
    sweep(folder);
    for file in draw_all(&record, folder, &options)? {
        print(&format!("{}\n", file.display()))?;
    }
    Ok(Outcome::Done)
}
