//! Comparing activations at one site.

use ulpscope_capture::Activation;
use ulpscope_llama::{BlockSite, Site};
use ulpscope_metrics::{Difference, compare_logits, difference, per_row};
use ulpscope_record::{Corner, Introduced, LogitDivergence, PositionDivergence, Sample, SiteDivergence};

/// How many pairs of logits a record keeps for the scatter plot.
const SAMPLE: usize = 4096;
/// Rows and columns that PyTorch shows at each end of a large tensor.
const EDGE: usize = 3;

/// The accumulated divergence at a site; what it introduces is filled in later.
pub(crate) fn site(site: Site, arm: &str, prompt: usize, a: &Activation, b: &Activation) -> SiteDivergence {
    let d = difference(&a.values, &b.values).expect("both arms have the same shapes");
    let positions = match site {
        Site::Block(_, BlockSite::Output) => {
            per_row(&a.values, &b.values, a.shape[1]).expect("rows divide the shape")
        }
        _ => Vec::new(),
    };
    SiteDivergence {
        site: site.to_string(),
        arm: arm.to_owned(),
        prompt,
        shape: a.shape.clone(),
        difference: ulpscope_record::Difference {
            equal: d.equal_fraction(),
            mean_abs: d.mean_abs(),
            max_abs: d.max_abs,
            rms: d.rms(),
            cosine: d.cosine(),
            sqnr_db: d.sqnr_db(),
        },
        introduced: introduced(&d),
        nonfinite: d.nonfinite,
        mean_abs_by_position: positions.iter().map(Difference::mean_abs).collect(),
    }
}

/// What a site introduces: its output on the reference's inputs, beside the reference's output.
pub(crate) fn introduced(d: &Difference) -> Introduced {
    Introduced { equal: d.equal_fraction(), mean_abs: d.mean_abs(), max_abs: d.max_abs }
}

/// Divergence of the logits, `[1, T, V]`.
pub(crate) fn logits(arm: &str, prompt: usize, a: &Activation, b: &Activation) -> LogitDivergence {
    let (tokens, vocabulary) = (a.shape[1], a.shape[2]);
    let d = difference(&a.values, &b.values).expect("both arms have the same shapes");
    let rows = per_row(&a.values, &b.values, tokens).expect("one row per token");
    let kl = compare_logits(&a.values, &b.values, vocabulary, 10).expect("whole rows");
    let by_position = rows.iter().zip(&kl.positions).map(|(row, position)| PositionDivergence {
        equal: row.equal_fraction(),
        mean_abs: row.mean_abs(),
        max_abs: row.max_abs,
        kl: position.kl,
        top1: position.top1.map(|id| u32::try_from(id).expect("token ids are u32")),
    });
    let stride = a.values.len().div_ceil(SAMPLE).max(1);
    let sample = |x: &Activation| (0..x.values.len()).step_by(stride).map(|i| x.values.get(i)).collect();
    LogitDivergence {
        arm: arm.to_owned(),
        prompt,
        equal: d.equal_fraction(),
        mean_abs: d.mean_abs(),
        max_abs: d.max_abs,
        allclose: d.allclose,
        kl: kl.mean_kl,
        top1_agreement: kl.top1_agreement,
        nonfinite: d.nonfinite,
        by_position: by_position.collect(),
        sample: Sample { stride, a: sample(a), b: sample(b) },
        corners: [corner(a), corner(b)],
    }
}

/// The rows and columns at the edges of logits, as PyTorch prints them.
fn corner(x: &Activation) -> Corner {
    let (tokens, vocabulary) = (x.shape[1], x.shape[2]);
    let rows = edges(tokens).into_iter().map(|row| {
        edges(vocabulary).into_iter().map(|column| x.values.get(row * vocabulary + column)).collect()
    });
    Corner { shape: x.shape.clone(), dtype: x.values.dtype().to_string(), rows: rows.collect() }
}

/// The first and last three indices below `len`, or all if there are at most six.
fn edges(len: usize) -> Vec<usize> {
    if len <= 2 * EDGE { (0..len).collect() } else { (0..EDGE).chain(len - EDGE..len).collect() }
}
