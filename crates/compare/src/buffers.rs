//! Comparing the buffers that no state dict holds.

use ulpscope_decoder::RotaryEmbedding;
use ulpscope_floats::Floats;
use ulpscope_metrics::{difference, max_relative};
use ulpscope_record::Buffer;
use ulpscope_relations::relation;

/// How many elements of each buffer a record shows.
const HEAD: usize = 8;

/// Each buffer of some rotary embeddings beside the reference's.
pub(crate) fn compare(arm: &str, reference: &[RotaryEmbedding], rotary: &[RotaryEmbedding]) -> Vec<Buffer> {
    let pairs = reference.iter().zip(rotary).flat_map(|(a, b)| a.buffers().into_iter().zip(b.buffers()));
    pairs.map(|((name, a), (_, b))| buffer(name, arm, a, b)).collect()
}

fn buffer(name: &str, arm: &str, a: &Floats, b: &Floats) -> Buffer {
    let d = difference(a, b).expect("both have head_dim / 2 elements");
    let head = |x: &Floats| (0..x.len().min(HEAD)).map(|i| x.get(i)).collect();
    Buffer {
        name: name.to_owned(),
        arm: arm.to_owned(),
        dtypes: [a.dtype().to_string(), b.dtype().to_string()],
        identical: a.dtype() == b.dtype() && a.bytes() == b.bytes(),
        equal: d.equal_fraction(),
        max_abs: d.max_abs,
        max_rel: max_relative(a, b).expect("lengths were just compared"),
        relation: relation(a, b).map(|r| r.to_string()),
        head: [head(a), head(b)],
    }
}
