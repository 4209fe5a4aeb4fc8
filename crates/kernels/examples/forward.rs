//! Where the time of a forward pass goes, on random numbers in the shape of SmolLM2-135M:
//! `cargo run --release --example forward -- 512 dot2`.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Instant;

use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::*;

fn noise(n: usize, dtype: DType) -> Floats<'static> {
    let mut state = 1u32;
    let values: Vec<f32> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / 8_388_608.0 - 1.0) * 0.1
        })
        .collect();
    Floats::from(values).cast(dtype)
}

fn main() -> Result<(), KernelError> {
    // On one of the pool's own threads, so that work need not be handed over to it.
    if std::env::var_os("OUTSIDE").is_some() { run() } else { rayon::scope(|_| run()) }
}

fn run() -> Result<(), KernelError> {
    let mut args = std::env::args().skip(1);
    let tokens: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(3);
    let order: Accumulation = args.next().as_deref().unwrap_or("tile32").parse()?;
    let dtype = match args.next().as_deref() {
        Some("f32") => DType::F32,
        Some("f16") => DType::F16,
        _ => DType::Bf16,
    };
    const LAYERS: usize = 30;
    let weight = |n: usize, k: usize| PackedWeight::new(&noise(n * k, dtype), n, k);
    let mut layers = Vec::new();
    let start = Instant::now();
    for _ in 0..LAYERS {
        let shapes = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)];
        layers.push(shapes.map(|(n, k)| weight(n, k)).into_iter().collect::<Result<Vec<_>, _>>()?);
    }
    let head = weight(49152, 576)?;
    println!("weights made in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let (norm, tables) = (noise(576, dtype), noise(tokens * 64, dtype));
    let attention = Attention { heads: 9, groups: 3, head_dim: 64, scale: 0.125, order, window: None };
    let x = noise(tokens * 576, dtype);

    let mut best: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..if tokens > 1000 {
        3
    } else if tokens > 100 {
        10
    } else {
        40
    } {
        let mut times: BTreeMap<&str, f64> = BTreeMap::new();
        let total = Instant::now();
        let mut time =
            |name, start: Instant| *times.entry(name).or_default() += start.elapsed().as_secs_f64();
        let mut h = x.clone();
        for w in &layers {
            let start = Instant::now();
            let group = |x: &Floats, w: &[PackedWeight]| {
                let group: Vec<Projection> = w.iter().map(Projection::from).collect();
                linear_group_on(Path::detect()?, x, &group, order, dtype)
            };
            let qkv = group(&h, &w[..3])?;
            time("linear", start);
            let [q, k, v] = qkv.try_into().expect("three products");
            let start = Instant::now();
            let (q, k) = (rotary(&q, &tables, &tables, 64)?, rotary(&k, &tables, &tables, 64)?);
            time("rotary", start);
            let start = Instant::now();
            let context = attention_eager(&attention, &q, &k, &v)?;
            time("attention eager", start);
            let start = Instant::now();
            attention_sdpa(&attention, &q, &k, &v)?;
            time("attention sdpa", start);
            let mut project = |x: &Floats, i: usize| {
                let start = Instant::now();
                let y = linear(x, (&w[i]).into(), None, order, dtype);
                time("linear", start);
                y
            };
            let o = project(&context, 3)?;
            let start = Instant::now();
            let both = group(&o, &w[4..6])?;
            time("linear", start);
            let [gate, up] = both.try_into().expect("two products");
            let start = Instant::now();
            let product = silu_up(&gate, &up)?;
            time("silu_up", start);
            let start = Instant::now();
            let down = linear(&product, (&w[6]).into(), None, order, dtype)?;
            time("linear", start);
            let start = Instant::now();
            h = rms_norm(&down, &norm, 1e-5)?;
            rms_norm(&o, &norm, 1e-5)?;
            time("rms_norm", start);
        }
        let start = Instant::now();
        linear(&h, (&head).into(), None, order, dtype)?;
        time("lm_head", start);
        time("all", total);
        for (name, seconds) in times {
            let best = best.entry(name).or_insert(f64::INFINITY);
            *best = best.min(seconds);
        }
    }
    for (name, seconds) in best {
        println!("{tokens:>5} tokens {order:<8} {dtype} {name:<16} {:>9.3} ms", seconds * 1e3);
    }
    Ok(())
}
