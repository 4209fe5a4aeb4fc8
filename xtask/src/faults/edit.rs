//! What can be done to the values of one tensor.

use super::numbers::{BF16, E4M3, F16, Random};

/// What is done to a tensor. Rows are the first dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    FlipSign,
    /// The lowest bit of an exponent, which no rounding to 16 bits hides.
    FlipBit,
    /// The highest bit of a fraction.
    FlipFraction,
    SwapPair,
    Large,
    Nan,
    ZeroRows,
    /// The first rows, as many as a head has.
    ZeroHead(usize),
    /// The first columns, as many as a head has.
    ZeroHeadColumns(usize),
    ZeroAll,
    Times8,
    Times(f32),
    TimesRow,
    TimesTile,
    Negate,
    Shift,
    Constant,
    Random,
    SwapRows,
    /// Two blocks of rows of this length exchanged.
    SwapBlocks(usize),
    /// Rows in two shards, put together in the wrong order.
    ShardRows(usize),
    ShardColumns(usize),
    RollRows,
    ReverseRows,
    /// The rows of this head-sized block in another order.
    ShuffleHead(usize),
    /// Halves of each head exchanged.
    SwapHalves(usize),
    /// From half-split to interleaved, for so many heads.
    Interleave(usize),
    /// From interleaved to half-split, for so many heads.
    Deinterleave(usize),
    Transpose,
    PlusOne,
    MinusOne,
    /// A constant for each 32 elements of a row, a sixteenth of their largest magnitude.
    OffsetBlocks,
    /// Other numbers in one row.
    RandomRow(usize),
    ZeroRow(usize),
    Clamp,
    Noise,
    LowRank,
    Truncate,
    ViaF16,
    /// To nine bits: ties for a later rounding to bf16.
    NineBits,
    NearestBf16,
    NearestF16,
    TiesAway,
    Stochastic,
    Q80,
    Q40,
    Nf4,
    Int8Rows,
    E4m3Tensor,
    /// The numbers of the 8-bit format without their scale.
    E4m3Unscaled,
    FlushSmall,
}

impl Edit {
    /// Changes a tensor of `rows` times `columns`, stored row by row. `seed` makes tensors differ
    /// where chance is involved.
    pub(crate) fn apply(self, values: &mut [f32], columns: usize, seed: u64) {
        let middle = values.len() / 2 + 1;
        let rows = values.len() / columns;
        let mut random = Random::new(seed);
        match self {
            Edit::FlipSign => values[middle] = -values[middle],
            Edit::FlipBit => values[middle] = f32::from_bits(values[middle].to_bits() ^ (1 << 23)),
            Edit::FlipFraction => values[middle] = f32::from_bits(values[middle].to_bits() ^ (1 << 22)),
            Edit::SwapPair => values.swap(middle, middle + columns.min(3)),
            Edit::Large => values[middle] = 1e6,
            Edit::Nan => values[middle] = f32::NAN,
            Edit::ZeroRows => values[..4 * columns].fill(0.0),
            Edit::ZeroHead(width) => values[..width * columns].fill(0.0),
            Edit::ZeroHeadColumns(width) => values.chunks_mut(columns).for_each(|row| row[..width].fill(0.0)),
            Edit::ZeroAll => values.fill(0.0),
            Edit::Times8 => values.iter_mut().for_each(|x| *x *= 8.0),
            Edit::Times(factor) => values.iter_mut().for_each(|x| *x *= factor),
            Edit::TimesRow => {
                for (i, row) in values.chunks_mut(columns).enumerate() {
                    row.iter_mut().for_each(|x| *x *= [0.5, 1.0, 2.0, 4.0][i % 4]);
                }
            }
            Edit::TimesTile => {
                for row in values.chunks_mut(columns).take(16) {
                    row[..16].iter_mut().for_each(|x| *x *= 0.25);
                }
            }
            Edit::Negate => values.iter_mut().for_each(|x| *x = -*x),
            Edit::Shift => values.rotate_right(1),
            Edit::Constant => values.fill(0.25),
            Edit::Random => values.iter_mut().for_each(|x| *x = ((random.next() - 0.5) * 0.1) as f32),
            Edit::SwapRows => (0..columns).for_each(|c| values.swap(columns + c, 5 * columns + c)),
            Edit::SwapBlocks(size) => rearrange(values, columns, |row| match row / size {
                0 => row + size,
                1 => row - size,
                _ => row,
            }),
            Edit::ShardRows(shards) => {
                rearrange(values, columns, |row| {
                    let size = rows / shards;
                    (shards - 1 - row / size) * size + row % size
                });
            }
            Edit::ShardColumns(shards) => {
                let size = columns / shards;
                for row in values.chunks_mut(columns) {
                    let old = row.to_vec();
                    (0..columns).for_each(|c| row[c] = old[(shards - 1 - c / size) * size + c % size]);
                }
            }
            Edit::RollRows => rearrange(values, columns, |row| (row + rows - 1) % rows),
            Edit::ReverseRows => rearrange(values, columns, |row| rows - 1 - row),
            Edit::ShuffleHead(width) => {
                let mut order: Vec<usize> = (0..width).collect();
                (1..width).rev().for_each(|i| order.swap(i, (random.next() * (i + 1) as f64) as usize));
                rearrange(values, columns, |row| if row < width { order[row] } else { row });
            }
            Edit::SwapHalves(width) => {
                rearrange(values, columns, |row| row - row % width + (row % width + width / 2) % width)
            }
            Edit::Interleave(heads) => {
                let width = rows / heads;
                rearrange(values, columns, |row| {
                    let place = row % width;
                    row - place + place % 2 * (width / 2) + place / 2
                });
            }
            Edit::Deinterleave(heads) => {
                let width = rows / heads;
                rearrange(values, columns, |row| {
                    let place = row % width;
                    row - place + place % (width / 2) * 2 + place / (width / 2)
                });
            }
            Edit::Transpose => {
                let old = values.to_vec();
                (0..values.len()).for_each(|i| values[i] = old[i % rows * columns + i / rows]);
            }
            Edit::PlusOne => values.iter_mut().for_each(|x| *x += 1.0),
            Edit::MinusOne => values.iter_mut().for_each(|x| *x -= 1.0),
            Edit::OffsetBlocks => blocks(values, columns, 32, |block| {
                let step = largest(block) / 16.0;
                block.iter_mut().for_each(|x| *x -= step);
            }),
            Edit::RandomRow(row) => {
                let row = &mut values[row * columns..(row + 1) * columns];
                row.iter_mut().for_each(|x| *x = ((random.next() - 0.5) * 0.5) as f32);
            }
            Edit::ZeroRow(row) => values[row * columns..(row + 1) * columns].fill(0.0),
            Edit::Clamp => {
                let limit = largest(values) / 2.0;
                values.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
            }
            Edit::Noise => {
                let rms = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
                values.iter_mut().for_each(|x| *x += 0.03 * rms * random.normal() as f32);
            }
            Edit::LowRank => {
                let rms = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
                let mut vector = |n| (0..n).map(|_| random.normal() as f32).collect::<Vec<_>>();
                let (up, down) = (vector(rows), vector(columns));
                (0..values.len()).for_each(|i| values[i] += 0.05 * rms * up[i / columns] * down[i % columns]);
            }
            Edit::Truncate => values.iter_mut().for_each(|x| *x = BF16.truncated(*x)),
            Edit::ViaF16 => values.iter_mut().for_each(|x| *x = BF16.nearest(F16.nearest(*x))),
            Edit::NineBits => values.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 0xffff_8000)),
            Edit::NearestBf16 => values.iter_mut().for_each(|x| *x = BF16.nearest(*x)),
            Edit::NearestF16 => values.iter_mut().for_each(|x| *x = F16.nearest(*x)),
            Edit::TiesAway => values.iter_mut().for_each(|x| *x = BF16.ties_away(*x)),
            Edit::Stochastic => values.iter_mut().for_each(|x| *x = BF16.stochastic(*x, random.next())),
            // llama.cpp leaves rows that are no whole number of blocks as they are.
            Edit::Q80 | Edit::Q40 if !columns.is_multiple_of(32) => {}
            Edit::Q80 => blocks(values, columns, 32, |block| {
                // The scale is stored in f16.
                let scale = F16.nearest(largest(block) / 127.0);
                grid(block, scale, |x| x.round());
            }),
            Edit::Q40 => blocks(values, columns, 32, |block| {
                let top = block.iter().copied().fold(0.0f32, |m, x| if x.abs() > m.abs() { x } else { m });
                let scale = F16.nearest(top / -8.0);
                grid(block, scale, |x| x.round().clamp(-8.0, 7.0));
            }),
            Edit::Nf4 => values.chunks_mut(64).for_each(|block| {
                // bitsandbytes' blocks go on from one row into the next.
                let scale = largest(block);
                grid(block, scale, |x| {
                    let near = |a: &&f32, b: &&f32| (**a - x).abs().total_cmp(&(**b - x).abs());
                    NF4.iter().min_by(near).copied().unwrap_or(0.0)
                });
            }),
            Edit::Int8Rows => blocks(values, columns, columns, |block| {
                let scale = largest(block) / 127.0;
                grid(block, scale, |x| x.round());
            }),
            Edit::E4m3Tensor => {
                let scale = largest(values) / 448.0;
                grid(values, scale, |x| E4M3.nearest(x));
            }
            Edit::E4m3Unscaled => {
                let scale = largest(values) / 448.0;
                values.iter_mut().for_each(|x| *x = E4M3.nearest(*x / scale));
            }
            Edit::FlushSmall => {
                let limit = largest(values) / 256.0;
                values.iter_mut().filter(|x| x.abs() < limit).for_each(|x| *x = 0.0);
            }
        }
    }
}

/// bitsandbytes' sixteen numbers.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Row `i` becomes what row `source(i)` was.
fn rearrange(values: &mut [f32], columns: usize, source: impl Fn(usize) -> usize) {
    let old = values.to_vec();
    for (i, row) in values.chunks_mut(columns).enumerate() {
        let from = source(i) * columns;
        row.copy_from_slice(&old[from..from + columns]);
    }
}

/// Each `size` elements of a row by themselves.
fn blocks(values: &mut [f32], columns: usize, size: usize, change: impl Fn(&mut [f32])) {
    for row in values.chunks_mut(columns) {
        row.chunks_mut(size).for_each(&change);
    }
}

fn grid(values: &mut [f32], scale: f32, nearest: impl Fn(f32) -> f32) {
    if scale != 0.0 {
        values.iter_mut().for_each(|x| *x = nearest(*x / scale) * scale);
    }
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, x| x.abs().max(most))
}

impl Edit {
    /// Whether it works on blocks of a row, so that a vector is one row to it.
    pub(crate) fn in_blocks(self) -> bool {
        matches!(self, Edit::Q80 | Edit::Q40 | Edit::Int8Rows | Edit::OffsetBlocks)
    }
}
