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
