//! Reading tokens one by one, with keys and values kept, against reading them at once.

use std::fs;

use burn::tensor::Device;
use ulpscope_decoder::{Held, Past, Tables};
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{
    Accumulation, Arithmetic, AttentionKind, Departure, Llama, LlamaConfig, RotaryEmbedding, Semantics,
    bridge,
};

use fixture::{Stored, fixtures, flips, stored};

mod fixture;

fn model(config: &str, dtype: DType) -> Llama {
    let folder = fixtures().join("configs").join(config);
    let json = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::from_json(&json).unwrap();
    Llama::new(&config, &mut Stored(stored(&folder), dtype)).unwrap()
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).map(|i| (i * 37 + 11) % 60).collect()
}

fn semantics(attention: AttentionKind, order: Accumulation) -> Semantics {
    Arithmetic { accumulation: order, ..attention.into() }.into()
}

/// The logits of the last token of `ids`, read at once.
fn at_once(model: &Llama, ids: &[u32], semantics: &Semantics) -> Floats<'static> {
    let logits = model.forward(ids, semantics.clone(), &mut ());
    let [_, rows, _] = logits.dims();
    bridge::floats(&logits.narrow(1, rows - 1, 1))
}

/// The logits of every token from the `first`-th on, which are read one by one after those before
/// them.
fn one_by_one(model: &Llama, ids: &[u32], first: usize, semantics: &Semantics) -> Vec<Floats<'static>> {
    let mut past: Vec<Past> = Vec::new();
    model.read(&ids[..first], semantics, &mut past);
    let each =
        |&id: &u32| bridge::floats(&model.logits(model.read(&[id], semantics, &mut past), 1, semantics));
    ids[first..].iter().map(each).collect()
}

/// From 16 tokens on, an eager softmax sums in the same lanes whatever their number, and orders
/// that do not cut their sums by the length add zeros at the end.
#[test]
fn eager_tokens_have_the_same_bits_one_by_one() {
    let ids = tokens(40);
    for dtype in [DType::Bf16, DType::F16, DType::F32] {
        let model = model("explicit-head-dim", dtype);
        for order in [Accumulation::Tile32, Accumulation::Sequential, Accumulation::Reversed] {
            let plain = semantics(AttentionKind::Eager, order);
            for departure in ["", "gqa=tiled", "cache=bf16", "rope=interleaved", "positions=+3", "scores=f32"]
            {
                let semantics = match departure {
                    "" => plain.clone(),
                    name => plain.clone().with(name.parse::<Departure>().unwrap()),
                };
                for (i, row) in one_by_one(&model, &ids, 16, &semantics).iter().enumerate() {
                    let whole = at_once(&model, &ids[..16 + i + 1], &semantics);
                    assert_eq!(flips(row, &whole), 0, "{dtype} {order} {departure} {i}");
                }
            }
        }
    }
}

/// With fused attention, exponentials come in whole vectors of the keys that there are: some bits
/// differ, no more.
#[test]
fn fused_attention_reads_one_by_one_what_it_reads_at_once_but_for_roundings() {
    let ids = tokens(40);
    // In 16 bits one such rounding reaches every logit; formats that do not round in between show
    // whether it is no more.
    for dtype in [DType::F32, DType::F64] {
        let model = model("explicit-head-dim", dtype);
        let semantics = semantics(AttentionKind::Sdpa, Accumulation::Tile32);
        for (i, row) in one_by_one(&model, &ids, 5, &semantics).iter().enumerate() {
            let whole = at_once(&model, &ids[..5 + i + 1], &semantics);
            for j in 0..row.len() {
                let (x, y) = (row.get(j), whole.get(j));
                // Roundings of some layers add up; a token in the wrong place would be off by a
                // tenth.
                assert!(
                    (x - y).abs() <= 1024.0 * dtype.unit_roundoff() * (1.0 + y.abs()),
                    "{dtype} {i} {j}: {x} {y}"
                );
            }
        }
    }
}

/// A table that is computed for a length alone is that of the token that is read.
#[test]
fn a_stretch_of_a_rotary_table_is_a_stretch_of_the_whole() {
    let folder = fixtures().join("configs/explicit-head-dim");
    let json = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    let config = LlamaConfig::from_json(&json).unwrap();
    let (rotary, device) = (RotaryEmbedding::all(&config.architecture()), Device::flex());
    let arithmetic = Arithmetic::default();
    let table = |tokens| {
        Tables::new(&rotary, tokens, Held { dtype: DType::Bf16, device: &device }, arithmetic, &mut ())
            .ropes
            .remove(0)
    };
    let (whole, part) = (table(0..9), table(4..9));
    assert_eq!(bridge::floats(&part.sin), bridge::floats(&whole.sin.narrow(1, 4, 5)));
    assert_eq!(bridge::floats(&part.cos), bridge::floats(&whole.cos.narrow(1, 4, 5)));
}
