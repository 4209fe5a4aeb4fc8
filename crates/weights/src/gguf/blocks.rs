//! Block-quantised tensors to the f32 values that they stand for, on all cores.

use anamnesis::{AnamnesisError, F32Out, GgufType, dequantize_gguf_blocks};
use rayon::prelude::*;

use super::unpermute::HalfSplit;

/// Numbers per task: enough to hide its cost, few enough to share out a small tensor.
const CHUNK: usize = 1 << 15;

/// Dequantises `rows` rows of `row` numbers, taking them in another order if one is given.
///
/// # Precision
/// The reference implementation's own f32 arithmetic, bit for bit; no rounding is added.
pub(crate) fn dequantise(
    bytes: &[u8],
    kind: GgufType,
    rows: usize,
    row: usize,
    order: Option<HalfSplit>,
) -> Result<Vec<f32>, AnamnesisError> {
    let mut out = vec![0.0f32; rows * row];
    if out.is_empty() || bytes.is_empty() {
        return Ok(out);
    }
    let row_bytes = bytes.len() / rows;
    let together = (CHUNK / row).max(1);
    out.par_chunks_mut(together * row).enumerate().try_for_each(|(chunk, out)| match order {
        None => {
            let bytes = &bytes[chunk * together * row_bytes..][..out.len() / row * row_bytes];
            fill(out, bytes, kind)
        }
        Some(order) => out.chunks_mut(row).enumerate().try_for_each(|(i, out)| {
            let source = order.source(chunk * together + i);
            fill(out, &bytes[source * row_bytes..][..row_bytes], kind)
        }),
    })?;
    Ok(out)
}

fn fill(out: &mut [f32], bytes: &[u8], kind: GgufType) -> Result<(), AnamnesisError> {
    let count = out.len();
    let mut rest: &mut [u8] = bytemuck::cast_slice_mut(out);
    dequantize_gguf_blocks::<F32Out, _>(bytes, kind, count, |block| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(block.len());
        head.copy_from_slice(block);
        rest = tail;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    /// Any bits are blocks of any type: what comes out is so many numbers, whatever they are.
    #[test]
    fn fuzz_gguf_blocks() {
        use GgufType::*;
        const TYPES: [GgufType; 25] = [
            Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ2_XXS, IQ2_XS, IQ3_XXS,
            IQ1_S, IQ4_NL, IQ3_S, IQ2_S, IQ4_XS, IQ1_M, TQ1_0, TQ2_0, MXFP4, NVFP4,
        ];
        let mut target = Target::new("gguf-blocks", env!("CARGO_MANIFEST_DIR")).executions(10_000);
        for kind in 0..TYPES.len() as u8 {
            target = target.seed([&[kind, 0, 0, 0][..], &[0x3c; 40]].concat());
        }
        // All in this thread, where the memory is counted.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            target.run(|input| {
                let [kind, rows, blocks, order, bits @ ..] = input else {
                    return Err("too short".to_owned());
                };
                let kind = TYPES[usize::from(*kind) % TYPES.len()];
                let (rows, blocks) = (2 * (1 + usize::from(rows % 2)), 1 + usize::from(blocks % 3));
                let size = kind.type_size().ok_or("without a size")? * blocks;
                let bytes: Vec<u8> = bits.iter().copied().chain([0]).cycle().take(rows * size).collect();
                let order = (order % 2 == 1).then_some(HalfSplit { half: 1 });
                let row = kind.block_size() * blocks;
                let values = dequantise(&bytes, kind, rows, row, order).map_err(|e| e.to_string())?;
                assert_eq!(values.len(), rows * row);
                Ok(kind.to_string().replace(|c: char| c.is_ascii_digit(), "d"))
            });
        });
    }
}
