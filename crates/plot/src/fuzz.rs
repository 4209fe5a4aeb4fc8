//! Pictures of records that contradict themselves where no check looks.

use ulpscope_fuzzing::Target;
use ulpscope_record::RunRecord;

use crate::{
    Options, PlotError, counterfactuals, floor, growth, heatmap, introduced, layers, logits, positions,
};

#[global_allocator]
static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

/// Every figure is made or refused, and becomes an SVG. Pixels are left out: they would take all
/// the time.
#[test]
fn fuzz_plot() {
    let short = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap().to_string();
    Target::new("plot", env!("CARGO_MANIFEST_DIR"))
        .seed(short(include_str!("../../record/tests/small.json")))
        .seed(short(include_str!("../../record/tests/explained.json")))
        .words(&["\"NaN\"", "\"inf\"", "\"-inf\"", "1e300", "1e-300", "-1", "model.layers.99999999", "null"])
        .text()
        .one_in(100)
        .executions(100)
        .run(|input| {
            let record = RunRecord::from_json(&String::from_utf8_lossy(input)).map_err(|e| e.to_string())?;
            let options = Options::default();
            let arm = record.arms.last().map(|arm| arm.name.clone()).unwrap_or_default();
            let draw = || -> Result<usize, PlotError> {
                let mut drawn = vec![
                    layers(&record, &options)?,
                    heatmap(&record, &arm, &options)?,
                    introduced(&record, &arm, &options)?,
                    logits(&record, &arm, &options)?,
                    positions(&record, &arm, &options)?,
                ];
                for figure in [floor, counterfactuals, growth] {
                    drawn.extend(figure(&record, &options)?);
                }
                for picture in &drawn {
                    picture.svg()?;
                }
                Ok(drawn.len())
            };
            draw().map(|figures| format!("{} figures", "x".repeat(figures))).map_err(|e| e.to_string())
        });
}
