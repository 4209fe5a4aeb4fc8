//! Products within one thread, on matrices that are packed once and read by many blocks of queries.

use std::ops::Range as Span;

use crate::element::Element;
use crate::exact_row::exact_row;
use crate::output::{Output, Patch};
use crate::plan::{Leaf, Plan};
use crate::range::Range;
use crate::storage::{WIDTH, pack_panel, panel_len};
use crate::tile::{
    Block, MAX_PANELS, MAX_ROWS, Tile, amx, in_bf16, packed, panels_at_once, row_blocks, run_dot_bf16,
};
use crate::weight::Line;
use crate::{Accumulation, Path};
use ulpscope_floats::{DType, bf16};

/// How products are taken: the instructions, the order, and what these two make of pairs.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) path: Path,
    pub(super) order: Accumulation,
    /// Both sides of every product hold whole pairs (k, k+1) the other way round, and odd-first
    /// chains stand in for even-first ones. The sums are the same, but there is an instruction for
    /// them.
    swapped: bool,
    /// There are many rows, and both sides are widened to f32 for kernels that take many at once.
    packed: bool,
}

/// Tokens from which on that pays.
const MANY_TOKENS: usize = 16;

impl Way {
    pub(super) fn new<T: Element>(path: Path, order: Accumulation, tokens: usize) -> Self {
        let leaf = Plan::new(order, 2).map(|plan| plan.leaf);
        let bf16 = T::DTYPE == DType::Bf16;
        let tiles = path == Path::AmxBf16 && bf16 && leaf == Some(Leaf::Tile32);
        let dots = path.dots_are_fast() && bf16 && leaf != Some(Leaf::Tile32);
        let packed = path >= Path::Avx512 && tokens >= MANY_TOKENS && leaf.is_some() && !tiles && !dots;
        let swapped = !packed && path >= Path::Avx512Bf16 && bf16 && leaf == Some(Leaf::EvenFirst);
        Way { path, order, swapped, packed }
    }

    /// The plan for the first `length` of `whole` products, when all the others are zeros.
    pub(super) fn plan(&self, length: usize, whole: usize) -> Option<Plan> {
        Plan::cut(self.order, length, whole).map(|plan| self.swap(plan))
    }

    /// The plan for products that are summed in sequence, in blocks of so many.
    pub(super) fn blocks(&self, length: usize, block: usize) -> Plan {
        self.swap(Plan::sequential(length, block))
    }

    fn swap(&self, plan: Plan) -> Plan {
        if self.swapped { Plan { leaf: Leaf::OddFirst, ..plan } } else { plan }
    }

    /// Puts a row, or a run of whole rows of even length, in the order of pairs that products want.
    pub(super) fn arrange<T: Copy>(&self, row: &mut [T]) {
        if self.swapped {
            row.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
    }
}

/// A matrix `[outputs, length]` in panels.
pub(super) struct Matrix<T> {
    /// Panels as they are stored or, for kernels that take many rows, two by two in f32.
    lines: Vec<Line>,
    length: usize,
    outputs: usize,
    pub(super) range: Range,
    /// Neither an infinity nor a NaN.
    pub(super) finite: bool,
    format: std::marker::PhantomData<T>,
}

impl<T: Element> Matrix<T> {
    /// From its rows.
    pub(super) fn of_rows(way: Way, rows: &[T], length: usize) -> Self {
        let outputs = rows.len() / length;
        Self::pack(way, rows, outputs, length, |i, panel| {
            pack_panel(way.path, rows, length, i * WIDTH, panel);
        })
    }

    /// From its columns: `columns` is `[length, outputs]`.
    pub(super) fn of_columns(way: Way, columns: &[T], outputs: usize) -> Self {
        let length = columns.len() / outputs;
        Self::pack(way, columns, outputs, length, |i, panel| {
            let width = WIDTH.min(outputs - i * WIDTH);
            for (k, column) in columns.chunks_exact(outputs).enumerate() {
                let to = &mut panel[k / 2 * 2 * WIDTH..][..2 * WIDTH];
                for (lane, value) in column[i * WIDTH..][..width].iter().enumerate() {
                    to[T::position(lane, k % 2)] = *value;
                }
            }
        })
    }

    /// `fill` writes a panel, which is all zeros before.
    fn pack(way: Way, values: &[T], outputs: usize, length: usize, fill: impl Fn(usize, &mut [T])) -> Self {
        let len = panel_len(length);
        let panels = outputs.div_ceil(WIDTH);
        let room = |panels: usize| vec![Line::ZERO; panels * len * size_of::<T>() / size_of::<Line>()];
        let lines = if way.packed {
            let size = packed::pair_lines(length);
            let mut pairs = vec![Line::ZERO; panels.div_ceil(packed::PANELS) * size];
            let mut both = room(packed::PANELS);
            for (i, pair) in pairs.chunks_exact_mut(size).enumerate() {
                both.fill(Line::ZERO);
                let both: &mut [T] = bytemuck::cast_slice_mut(&mut both);
                let first = i * packed::PANELS;
                for (j, panel) in both.chunks_exact_mut(len).enumerate().take(panels - first) {
                    fill(first + j, panel);
                }
                packed::widen_pair([&both[..len], &both[len..]], length, pair);
            }
            pairs
        } else {
            let mut lines = room(panels);
            for (i, panel) in bytemuck::cast_slice_mut(&mut lines).chunks_exact_mut(len).enumerate() {
                fill(i, panel);
                // A lone last element stays where it is. Both halves of a pair lie side by side
                // where pairs are swapped.
                way.arrange(&mut panel[..length / 2 * 2 * WIDTH]);
            }
            lines
        };
        let range = Range::on(way.path, values);
        let finite = values.iter().all(|x| x.magnitude() < T::INFINITY);
        Matrix { lines, length, outputs, range, finite, format: std::marker::PhantomData }
    }

    /// A pair of panels in f32, from the product `start` on.
    fn pair(&self, i: usize, start: usize) -> &[Line] {
        let size = packed::pair_lines(self.length);
        &self.lines[i * size..][..size][start * packed::PANELS..]
    }

    /// Panel `i` from the product `start` (an even number) on.
    fn panel(&self, i: usize, start: usize) -> &[T] {
        let len = panel_len(self.length);
        &bytemuck::cast_slice(&self.lines)[i * len + start * WIDTH..(i + 1) * len]
    }

    /// All panels.
    pub(super) fn panels(&self) -> Span<usize> {
        0..self.outputs.div_ceil(WIDTH)
    }
}

/// The other side of a product: rows of x, in buffers that are used again.
pub(super) struct Rows<T> {
    length: usize,
    values: Vec<T>,
    wide: Vec<f32>,
    /// For AMX, if every row proved fit for it.
    tiles: Option<amx::Rows>,
    /// For kernels that take many rows.
    packed: packed::Rows,
    /// What is proved of each row's sums: see [`Range`].
    proofs: Vec<Proof>,
}

#[derive(Clone, Copy, Default)]
struct Proof {
    never_subnormal: bool,
    exact_products: bool,
}

impl<T: Element> Rows<T> {
    pub(super) fn new() -> Self {
        Rows {
            length: 0,
            values: Vec::new(),
            wide: Vec::new(),
            tiles: None,
            packed: packed::Rows::default(),
            proofs: Vec::new(),
        }
    }

    /// Room for `rows` rows; what they hold is to be written over.
    pub(super) fn room(&mut self, rows: usize, length: usize) -> &mut [T] {
        self.length = length;
        self.values.resize(rows * length, T::ZERO);
        &mut self.values
    }

    /// The rows, arranged once they are [`Rows::ready`].
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// To be called when the rows are written and before they are multiplied by `matrix`.
    pub(super) fn ready(&mut self, way: Way, plan: Option<&Plan>, matrix: &Matrix<T>) {
        if let (true, Some(plan)) = (way.packed, plan) {
            self.wide.resize(self.values.len(), 0.0);
            T::read(&self.values, &mut self.wide);
            return self.packed.repack(&self.wide, self.length, plan.leaf);
        }
        let Rows { length, values, wide, tiles, proofs, .. } = self;
        let leaf = |leaf| T::DTYPE == DType::Bf16 && plan.is_some_and(|plan| plan.leaf == leaf);
        let dot = way.path >= Path::Avx512Bf16 && leaf(Leaf::OddFirst);
        // Beyond the rows' own length, zeros meet what the matrix holds there, which must not be
        // infinite.
        let by_tiles = way.path == Path::AmxBf16 && leaf(Leaf::Tile32) && matrix.finite;
        let mut admitted = by_tiles;
        proofs.clear();
        for row in values.chunks_exact_mut(*length) {
            way.arrange(row);
            if by_tiles {
                admitted = admitted && amx::admits(Range::on(way.path, row), matrix.range);
            }
            proofs.push(if dot || way.path == Path::Portable {
                let range = Range::on(way.path, row);
                Proof {
                    never_subnormal: dot && range.never_subnormal(matrix.range),
                    exact_products: range.exact_products(matrix.range),
                }
            } else {
                Proof::default()
            });
        }
        if admitted {
            let values: &[bf16] = bytemuck::cast_slice(values);
            tiles.get_or_insert_default().repack(values, *length);
        } else {
            *tiles = None;
        }
        if !admitted && !proofs.iter().all(|proof| proof.never_subnormal) {
            wide.resize(values.len(), 0.0);
            T::read(values, wide);
        }
    }

    /// The largest exponent bound of |x| over all rows, `None` if some number is not finite.
    pub(super) fn bound(&self) -> Option<i32> {
        let finite = self.values.iter().all(|x| x.magnitude() < T::INFINITY);
        finite.then(|| Range::of(&self.values).bound())
    }

    /// `out[row, n] = Σ_k x[row, k] · matrix[n, start + k]` for the outputs of some panels, in rows
    /// of `stride`.
    ///
    /// Of some panels side by side, only the rows `rows_of` them are computed. The rows must be
    /// [`Rows::ready`].
    #[allow(clippy::too_many_arguments)] // all of them plain coordinates
    pub(super) fn multiply<O: Output>(
        &self,
        way: Way,
        plan: Option<&Plan>,
        matrix: &Matrix<T>,
        panels: Span<usize>,
        start: usize,
        rows_of: impl Fn(Span<usize>) -> Span<usize>,
        out: &mut [O],
        stride: usize,
    ) {
        let step = if plan.is_some() { panels_at_once(way.path, usize::MAX, false) } else { 1 };
        if let (true, Some(plan)) = (way.packed, plan) {
            return multiply_packed(&self.packed, way, plan, matrix, panels, start, rows_of, out, stride);
        }
        if let (Some(x), Some(plan)) = (&self.tiles, plan) {
            return multiply_tiles(x, way, plan, matrix, panels, start, rows_of, out, stride);
        }
        for panel in panels.clone().step_by(step) {
            let count = step.min(panels.end - panel);
            let both = [matrix.panel(panel, start), matrix.panel(panel + count - 1, start)];
            let both = &both[..count];
            let column = (panel - panels.start) * WIDTH;
            let width = (count * WIDTH).min(stride - column);
            let Span { start: mut row, end } = rows_of(panel..panel + count);
            while row < end {
                let Some(plan) = plan else {
                    let x = &self.wide[row * self.length..(row + 1) * self.length];
                    exact_row(way.path, x, both[0], None, &mut out[row * stride + column..][..width]);
                    row += 1;
                    continue;
                };
                let out = &mut out[row * stride + column..];
                row += self.tile(way.path, plan, row..end, both, out, [stride, width]);
            }
        }
    }

    /// Multiplies the first of some rows, as many as a kernel takes, and returns how many those
    /// are. In `out`, each takes the first `width` of `stride` numbers.
    fn tile<O: Output>(
        &self,
        path: Path,
        plan: &Plan,
        Span { start: row, end }: Span<usize>,
        panels: &[&[T]],
        out: &mut [O],
        [stride, width]: [usize; 2],
    ) -> usize {
        let all = |rows: usize, claim: fn(&Proof) -> bool| self.proofs[row..row + rows].iter().all(claim);
        let x = |rows: usize| row * self.length..(row + rows) * self.length;
        let proved = self.proofs[row..end].iter().take_while(|proof| proof.never_subnormal).count();
        if proved > 0 {
            let cast = in_bf16(panels);
            let x = bytemuck::cast_slice(&self.values[x(proved)]);
            let block = Block { plan, x, panels: &cast[..panels.len()] };
            run_dot_bf16(path, &block, Patch::of(out, stride, proved, width), None);
            return proved;
        }
        let path = path.min(Path::Avx512);
        let rows = row_blocks(path, plan.leaf, end - row);
        let exact = all(rows, |proof| proof.exact_products);
        let mut sums = [0.0; MAX_ROWS * MAX_PANELS * WIDTH];
        Tile { path, rows, exact }.run(&Block { plan, x: &self.wide[x(rows)], panels }, &mut sums);
        Patch::of(out, stride, rows, width).fill(path, &mut sums, panels.len() * WIDTH, None);
        rows
    }
}

/// [`Rows::multiply`] for many rows, by AVX-512.
#[allow(clippy::too_many_arguments)] // as there
fn multiply_packed<T: Element, O: Output>(
    x: &packed::Rows,
    way: Way,
    plan: &Plan,
    matrix: &Matrix<T>,
    panels: Span<usize>,
    start: usize,
    rows_of: impl Fn(Span<usize>) -> Span<usize>,
    out: &mut [O],
    stride: usize,
) {
    const OUTPUTS: usize = packed::PANELS * WIDTH;
    let mut sums = [0.0; packed::MAX_ROWS * OUTPUTS];
    // Blocks of keys begin with whole pairs of panels.
    assert!(panels.start.is_multiple_of(packed::PANELS));
    for panel in panels.clone().step_by(packed::PANELS) {
        let pair = matrix.pair(panel / packed::PANELS, start);
        let column = (panel - panels.start) * WIDTH;
        let width = (packed::PANELS.min(panels.end - panel) * WIDTH).min(stride - column);
        let of = rows_of(panel..panels.end.min(panel + packed::PANELS));
        if of.is_empty() {
            continue;
        }
        for first in (of.start / x.step() * x.step()..of.end).step_by(x.step()) {
            packed::run(plan, x, first, pair, pair.as_ptr().cast(), &mut sums);
            let (row, rows) = (first.max(of.start), x.rows_of(first).min(of.end - first));
            let to = Patch::of(&mut out[row * stride + column..], stride, first + rows - row, width);
            to.fill(way.path, &mut sums[(row - first) * OUTPUTS..], OUTPUTS, None);
        }
    }
}

/// [`Rows::multiply`] by AMX.
#[allow(clippy::too_many_arguments)] // as there
fn multiply_tiles<T: Element, O: Output>(
    x: &amx::Rows,
    way: Way,
    plan: &Plan,
    matrix: &Matrix<T>,
    panels: Span<usize>,
    start: usize,
    rows_of: impl Fn(Span<usize>) -> Span<usize>,
    out: &mut [O],
    stride: usize,
) {
    let mut unit = amx::Unit::new();
    let mut sums = amx::Sums([0.0; amx::SUMS]);
    for panel in panels.clone().step_by(amx::MAX_PANELS) {
        let count = amx::MAX_PANELS.min(panels.end - panel);
        let both =
            [matrix.panel(panel, start), matrix.panel(panel + count - 1, start)].map(bytemuck::cast_slice);
        let column = (panel - panels.start) * WIDTH;
        let width = (count * WIDTH).min(stride - column);
        let of = rows_of(panel..panel + count);
        if of.is_empty() {
            continue;
        }
        for first in (of.start / amx::TILE_ROWS * amx::TILE_ROWS..of.end).step_by(amx::MAX_ROWS) {
            let rows = amx::MAX_ROWS.min(of.end - first);
            unit.run(&amx::Block { plan, x, first, rows, panels: &both[..count] }, &mut sums);
            let row = first.max(of.start);
            let to = Patch::of(&mut out[row * stride + column..], stride, first + rows - row, width);
            to.fill(way.path, &mut sums.0[(row - first) * count * WIDTH..], count * WIDTH, None);
        }
    }
}
