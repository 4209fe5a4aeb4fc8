//! How fast the products are, beside what the machine can do:
//! `cargo run --release --example throughput`.
//!
//! An argument limits it to one order, a second one to a number of rows; `fastest` in the place of
//! an order takes them all, but only the fastest path. Medians of repeated runs on all threads of
//! the pool (`RAYON_NUM_THREADS`). The floors are measured in the same run: products in f32, and
//! reading as many bytes as the weight has, which may lie in the last cache.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use ulpscope_floats::{DType, Floats};
use ulpscope_kernels::{Accumulation, PackedWeight, Path, Projection, Weight, linear_on};

/// Median seconds of a call, repeated for about a third of a second, or the least if `LEAST` is
/// set: the number to look at on a machine that does other things too.
fn median(mut call: impl FnMut()) -> f64 {
    call();
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < 0.35 {
        let begin = Instant::now();
        call();
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    if std::env::var_os("LEAST").is_some() { times[0] } else { times[times.len() / 2] }
}

fn noise(n: usize, dtype: DType) -> Floats<'static> {
    let mut state = 1u32;
    let values: Vec<f32> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect();
    Floats::from(values).cast(dtype)
}

/// Bytes per second at which all threads read this many bytes again and again.
fn bandwidth(bytes: usize) -> f64 {
    let words = vec![1u64; bytes / 8];
    let seconds = median(|| {
        let sum: u64 = words.par_chunks(1 << 13).map(|chunk| chunk.iter().fold(0, |a, b| a ^ b)).sum();
        black_box(sum);
    });
    (words.len() * 8) as f64 / seconds
}

/// Multiplications and additions in f32 per second that all threads do, by the widest fused
/// instruction there is.
fn peak() -> f64 {
    const ROUNDS: usize = 20_000_000;
    let threads = rayon::current_num_threads();
    let (lanes, seconds) = match Path::available().last() {
        #[cfg(target_arch = "x86_64")]
        Some(Path::Avx512 | Path::Avx512Bf16 | Path::AmxBf16) => {
            (16, median(|| on_all_threads(threads, ROUNDS)))
        }
        _ => return f64::NAN,
    };
    (2 * 12 * lanes * ROUNDS * threads) as f64 / seconds
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn on_all_threads(threads: usize, rounds: usize) {
    (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
        // SAFETY: only called if the CPU has the instructions.
        unsafe { chains512(rounds) }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains512(rounds: usize) {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    let mut acc = [_mm512_setzero_ps(); 12];
    for _ in 0..rounds {
        for acc in &mut acc {
            *acc = _mm512_fmadd_ps(*acc, a, b);
        }
    }
    black_box(acc.map(|acc| _mm512_reduce_add_ps(acc)));
}

fn main() {
    let (memory, peak) = (bandwidth(256 << 20), peak());
    let mut floors: BTreeMap<usize, f64> = BTreeMap::new();
    println!(
        "{} threads, memory {:.1} GB/s, f32 fused {:.0} GFLOP/s",
        rayon::current_num_threads(),
        memory / 1e9,
        peak / 1e9
    );
    let only = std::env::args().nth(1);
    let fastest = only.as_deref() == Some("fastest");
    let wanted = std::env::args().nth(2).and_then(|m| m.parse::<usize>().ok());
    let shapes = [
        (1, 576, 49152),
        (3, 576, 49152),
        (3, 576, 1536),
        (6, 576, 49152),
        (64, 576, 1536),
        (512, 576, 1536),
        (512, 1536, 576),
        (512, 576, 576),
    ];
    println!(
        "{:<12} {:<12} {:<6} {:>18} {:>9} {:>8} {:>6} {:>9} {:>6}",
        "order", "path", "dtype", "M x K x N", "ms", "GB/s", "of mem", "GFLOP/s", "of f32"
    );
    for (dtype, order) in [
        (DType::Bf16, Accumulation::Tile32),
        (DType::Bf16, Accumulation::Dot2),
        (DType::Bf16, Accumulation::Tile32Blocked),
        (DType::Bf16, Accumulation::Pairwise),
        (DType::Bf16, Accumulation::Exact),
        (DType::F16, Accumulation::Sequential),
        (DType::F32, Accumulation::Tile32),
    ] {
        if !fastest && only.as_ref().is_some_and(|only| *only != order.to_string()) {
            continue;
        }
        for (m, k, n) in shapes.into_iter().filter(|s| wanted.is_none_or(|m| m == s.0)) {
            let x = noise(m * k, dtype);
            let w = noise(n * k, dtype);
            let packed = PackedWeight::new(&w, n, k).unwrap();
            for path in Path::available() {
                let slow = path < Path::Avx512 && (m * n > 1 << 18 || order != Accumulation::Tile32);
                let passed_over = fastest && Path::available().last() != Some(&path);
                if slow || passed_over || order == Accumulation::Exact && m > 64 {
                    continue;
                }
                for (name, weight) in [
                    ("", Weight::Packed(&packed)),
                    (" rows", Weight::Rows { values: &w, outputs: n, inputs: k }),
                ] {
                    if fastest && !name.is_empty() {
                        continue;
                    }
                    let size = n * k * dtype.size();
                    let floor = *floors.entry(size).or_insert_with(|| bandwidth(size));
                    let seconds = median(|| {
                        black_box(
                            linear_on(path, &x, Projection { weight, bias: None }, order, dtype).unwrap(),
                        );
                    });
                    let bytes = size as f64 / seconds;
                    let flops = (2 * m * n * k) as f64 / seconds;
                    println!(
                        "{:<12} {:<16} {:<5} {:>18} {:>9.3} {:>8.1} {:>6.2} {:>9.1} {:>6.2}",
                        order.to_string(),
                        format!("{path}{name}"),
                        dtype.to_string(),
                        format!("{m} x {k} x {n}"),
                        seconds * 1e3,
                        bytes / 1e9,
                        bytes / floor,
                        flops / 1e9,
                        flops / peak
                    );
                }
            }
        }
    }
}
