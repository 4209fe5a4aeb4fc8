//! Weights, packed for streaming or as they lie in a checkpoint.

use std::mem::MaybeUninit;

use rayon::prelude::*;
use ulpscope_floats::{DType, Floats, bf16, f16};

use crate::range::Range;
use crate::storage::{Storage, WIDTH, pack_panel, panel_len, with_storage};
use crate::{KernelError, Path};

/// 64 bytes that do not straddle cache lines, which every load of a panel relies on for speed.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

impl Line {
    pub(crate) const ZERO: Line = Line([0; 64]);
}

/// A weight `[N, K]` in its storage dtype, rearranged so that a product reads it front to back.
///
/// Sixteen outputs lie side by side (padded with zeros if N is no multiple of 16), pairs of indices
/// (k, k+1) follow each other. No bit of any value changes.
#[derive(Clone)]
pub struct PackedWeight {
    outputs: usize,
    inputs: usize,
    dtype: DType,
    lines: Vec<Line>,
    /// One per panel.
    ranges: Vec<Range>,
}

impl PackedWeight {
    /// Packs `values`, row-major `[outputs, inputs]`, on all threads of the current pool.
    ///
    /// # Errors
    /// If a dimension is 0, the number of values is another, or they are f64.
    pub fn new(values: &Floats, outputs: usize, inputs: usize) -> Result<Self, KernelError> {
        #[allow(unsafe_code)]
        fn pack<T: Storage>(rows: &[T], outputs: usize, inputs: usize) -> (Vec<Line>, Vec<Range>) {
            let bytes = panel_len(inputs) * size_of::<T>();
            let panels = outputs.div_ceil(WIDTH);
            // What the variable asks for, if it can be had; the panels are the same by every path.
            let path = Path::detect().unwrap_or(Path::Portable);
            let each = bytes / size_of::<Line>();
            let mut lines: Vec<Line> = Vec::with_capacity(panels * each);
            in_large_pages(lines.spare_capacity_mut());
            let ranges = lines.spare_capacity_mut()[..panels * each]
                .par_chunks_exact_mut(each)
                .enumerate()
                .map(|(i, room)| {
                    // The thread that fills a panel also zeroes it, so that many threads share the
                    // first touch of the pages.
                    room.fill(MaybeUninit::new(Line::ZERO));
                    // SAFETY: all of it was written to just now.
                    let panel = bytemuck::cast_slice_mut(unsafe { room.assume_init_mut() });
                    pack_panel(path, rows, inputs, i * WIDTH, panel);
                    Range::on(path, panel)
                })
                .collect();
            // SAFETY: so many lines were written to.
            unsafe { lines.set_len(panels * each) };
            (lines, ranges)
        }
        check(values, outputs, inputs)?;
        let (lines, ranges) = with_storage!(values, "the weight", rows => pack(rows, outputs, inputs));
        Ok(PackedWeight { outputs, inputs, dtype: values.dtype(), lines, ranges })
    }

    /// N, the length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// K, the length of an input row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The storage format of the values.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows of the weight, one after the other, as they were before it was packed.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn rows(&self, rows: &[usize]) -> Floats<'static> {
        fn gather<T: Storage>(lines: &[Line], inputs: usize, rows: &[usize]) -> Vec<T> {
            let panels: &[T] = bytemuck::cast_slice(lines);
            let value = |row: usize, k: usize| {
                let panel = &panels[row / WIDTH * panel_len(inputs)..];
                panel[k / 2 * 2 * WIDTH + T::position(row % WIDTH, k % 2)]
            };
            rows.iter().flat_map(|&row| (0..inputs).map(move |k| value(row, k))).collect()
        }
        assert!(
            rows.iter().all(|&row| row < self.outputs),
            "a weight of {} rows is asked for others",
            self.outputs
        );
        match self.dtype {
            DType::F32 => Floats::from(gather::<f32>(&self.lines, self.inputs, rows)),
            DType::Bf16 => Floats::from(gather::<bf16>(&self.lines, self.inputs, rows)),
            DType::F16 => Floats::from(gather::<f16>(&self.lines, self.inputs, rows)),
            DType::F64 => unreachable!("weights in f64 are not packed"),
        }
    }

    /// Bytes of memory the values take, padding included.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

impl std::fmt::Debug for PackedWeight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWeight[{}, {}] {}", self.outputs, self.inputs, self.dtype)
    }
}

/// A weight that a product can use.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Packed beforehand: the fastest, if it is used more than once.
    Packed(&'a PackedWeight),
    /// Row-major as in a checkpoint (a memory map, say). Panels are packed as the product comes to
    /// them and forgotten again, so that no second copy is ever held.
    Rows {
        /// The values, `[outputs, inputs]`.
        values: &'a Floats<'a>,
        /// N.
        outputs: usize,
        /// K.
        inputs: usize,
    },
}

impl<'a> From<&'a PackedWeight> for Weight<'a> {
    fn from(weight: &'a PackedWeight) -> Self {
        Weight::Packed(weight)
    }
}

impl Weight<'_> {
    /// N, the length of an output row.
    pub fn outputs(&self) -> usize {
        match self {
            Weight::Packed(weight) => weight.outputs,
            Weight::Rows { outputs, .. } => *outputs,
        }
    }

    /// K, the length of an input row.
    pub fn inputs(&self) -> usize {
        match self {
            Weight::Packed(weight) => weight.inputs,
            Weight::Rows { inputs, .. } => *inputs,
        }
    }

    /// The storage format of the values.
    pub fn dtype(&self) -> DType {
        match self {
            Weight::Packed(weight) => weight.dtype,
            Weight::Rows { values, .. } => values.dtype(),
        }
    }

    /// Refuses f64, which has no order of summation, and too few values.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        match self {
            Weight::Packed(_) => Ok(()),
            Weight::Rows { values, outputs, inputs } => check(values, *outputs, *inputs),
        }
    }

    /// The panels of this weight, if its format is `T`.
    pub(crate) fn panels<T: Storage>(&self) -> Option<Panels<'_, T>> {
        if self.dtype() != T::DTYPE {
            return None;
        }
        Some(match self {
            Weight::Packed(weight) => {
                let values = bytemuck::cast_slice(&weight.lines);
                Panels { values, inputs: weight.inputs, ranges: Some(&weight.ranges) }
            }
            Weight::Rows { values, inputs, .. } => Panels {
                values: bytemuck::try_cast_slice(values.bytes()).ok()?,
                inputs: *inputs,
                ranges: None,
            },
        })
    }
}

/// Asks for memory that was not touched yet to come in large pages, if it is much: getting it by
/// pages of 4 KiB takes longer than packing a weight into it, and reading it ends at the end of
/// each.
pub(crate) fn in_large_pages<T>(room: &mut [T]) {
    #[cfg(not(target_os = "linux"))]
    let _ = room;
    #[cfg(target_os = "linux")]
    {
        /// From here on it is memory of its own from the system, not a piece that was used before.
        const LARGE: usize = 32 << 20;
        const PAGE: usize = 4096;
        if size_of_val(room) < LARGE {
            return;
        }
        let start = room.as_mut_ptr().cast::<u8>();
        let skipped = start.align_offset(PAGE);
        // SAFETY: whole pages within the room, which is borrowed mutably; how large they are
        // changes nothing in them. Where it can't be had, nothing happens.
        #[allow(unsafe_code)]
        unsafe {
            let length = (size_of_val(room) - skipped) / PAGE * PAGE;
            libc::madvise(start.add(skipped).cast(), length, libc::MADV_HUGEPAGE);
        }
    }
}

fn check(values: &Floats, outputs: usize, inputs: usize) -> Result<(), KernelError> {
    for (what, length) in [("the number of outputs", outputs), ("the number of inputs", inputs)] {
        if length == 0 {
            return Err(KernelError::Empty { what });
        }
    }
    let expected = outputs.saturating_mul(inputs);
    if values.len() != expected {
        return Err(KernelError::Length { what: "the weight", expected, got: values.len() });
    }
    Ok(())
}

/// The panels of a weight, there already or packed on demand.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, T> {
    values: &'a [T],
    inputs: usize,
    /// `None` if the values are row-major.
    ranges: Option<&'a [Range]>,
}

/// Room for a panel packed or widened on demand, on a cache line's boundary.
#[derive(Default)]
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// A panel for K = `inputs`, with whatever was there before in it.
    pub(crate) fn panel<T: Storage>(&mut self, inputs: usize) -> &mut [T] {
        self.0.resize(panel_len(inputs) * size_of::<T>() / size_of::<Line>(), Line::ZERO);
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

impl<'a, T: Storage> Panels<'a, T> {
    /// Panel `i` and its range. The range of one packed on demand is only worked out if `ranged`;
    /// the caller must not rely on it otherwise.
    pub(crate) fn get<'s>(
        &self,
        path: Path,
        i: usize,
        ranged: bool,
        scratch: &'s mut Scratch,
    ) -> (&'s [T], Option<Range>)
    where
        'a: 's,
    {
        let len = panel_len(self.inputs);
        if let Some(ranges) = self.ranges {
            return (&self.values[i * len..(i + 1) * len], Some(ranges[i]));
        }
        let panel = scratch.panel(self.inputs);
        pack_panel(path, self.values, self.inputs, i * WIDTH, panel);
        (panel, ranged.then(|| Range::on(path, panel)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_was_packed() {
        for (outputs, inputs) in [(1, 1), (16, 32), (37, 71)] {
            let values: Vec<f32> = (0..outputs * inputs).map(|i| i as f32 - 100.0).collect();
            for dtype in [DType::F32, DType::Bf16, DType::F16] {
                let values = Floats::from(values.clone()).cast(dtype);
                let packed = PackedWeight::new(&values, outputs, inputs).unwrap();
                let all: Vec<usize> = (0..outputs).collect();
                assert_eq!(packed.rows(&all), values);
                let last = outputs - 1;
                assert_eq!(packed.rows(&[last]), values.slice(last * inputs..outputs * inputs).into_owned());
                assert!(packed.rows(&[]).is_empty());
            }
        }
    }
}
