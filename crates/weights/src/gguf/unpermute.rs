//! Query and key rows, from llama.cpp's order back to Hugging Face's.
//!
//! Rotary embedding pairs the first half of a head with the second in Hugging Face's Llama, and
//! neighbours in llama.cpp's. The converter (`LlamaModel.permute`) therefore reorders each head's
//! rows by `w.reshape(heads, 2, d / 2, …).swapaxes(1, 2)`; here is the inverse.

use std::borrow::Cow;

use bytemuck::Pod;
use ulpscope_floats::Floats;

/// The order of rows in which the two halves of a head follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfSplit {
    /// Half the width of a head.
    pub(crate) half: usize,
}

impl HalfSplit {
    /// Where llama.cpp put the row that Hugging Face has at `row`.
    pub(crate) fn source(self, row: usize) -> usize {
        let width = 2 * self.half;
        let (head, inside) = (row / width, row % width);
        head * width + 2 * (inside % self.half) + inside / self.half
    }

    /// Reorders rows of `row` numbers each; a bias has rows of one.
    pub(crate) fn undo<'a>(self, values: Floats<'a>, row: usize) -> Floats<'a> {
        fn gather<T: Pod>(values: &[T], row: usize, order: HalfSplit) -> Cow<'static, [T]> {
            let rows = values.len() / row.max(1);
            (0..rows)
                .flat_map(|r| &values[order.source(r) * row..][..row])
                .copied()
                .collect::<Vec<T>>()
                .into()
        }
        match values {
            Floats::F64(v) => Floats::F64(gather(&v, row, self)),
            Floats::F32(v) => Floats::F32(gather(&v, row, self)),
            Floats::Bf16(v) => Floats::Bf16(gather(&v, row, self)),
            Floats::F16(v) => Floats::F16(gather(&v, row, self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_inverse_of_llama_cpps_permutation() {
        // Two heads of six rows. reshape(2, 2, 3).swapaxes(1, 2) sends row (head, half, i) to
        // (head, i, half).
        let mut permuted = vec![0.0f32; 12];
        for head in 0..2 {
            for half in 0..2 {
                for i in 0..3 {
                    permuted[head * 6 + i * 2 + half] = (head * 6 + half * 3 + i) as f32;
                }
            }
        }
        assert_eq!(permuted[..6], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let undone = HalfSplit { half: 3 }.undo(Floats::from(permuted), 1);
        assert_eq!(undone, Floats::from((0..12).map(|i| i as f32).collect::<Vec<_>>()));
    }

    #[test]
    fn rows_move_whole() {
        let values = Floats::from(vec![0.0f32, 0.5, 2.0, 2.5, 1.0, 1.5, 3.0, 3.5]);
        let undone = HalfSplit { half: 2 }.undo(values, 2);
        assert_eq!(undone, Floats::from(vec![0.0f32, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]));
    }
}
