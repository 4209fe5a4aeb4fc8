//! `y = x wᵀ + b` with a declared order of summation.

use std::borrow::Cow;
use std::sync::OnceLock;

use ulpscope_floats::{DType, Floats, bf16, f16};

use crate::element::Element;
use crate::exact_row::exact_row;
use crate::output::{Cell, Output, grid};
use crate::plan::{Leaf, Plan};
use crate::range::Range;
use crate::spin_pool::{for_each_item, for_each_part, threads};
use crate::storage::{Storage, WIDTH};
#[cfg(target_arch = "x86_64")]
use crate::tile::widen_panel;
use crate::tile::{
    Block, MANY_ROWS, MAX_PANELS, MAX_ROWS, Tile, amx, in_bf16, packed, panels_at_once, row_blocks,
    run_dot_bf16,
};
use crate::weight::{Line, PackedWeight, Panels, Scratch, Weight, in_large_pages};
use crate::{Accumulation, KernelError, Path};

/// Rows of x that stay in a core's cache while panels pass by, in bytes.
const ROWS_IN_CACHE: usize = 192 << 10;
/// The same in bytes of f32 for kernels that take many rows: the next cache holds them beside a
/// panel.
const PACKED_IN_CACHE: usize = 768 << 10;
/// A multiple of the rows of every kernel's blocks.
const BLOCKS: usize = 96;
/// The same of those that take few rows at once.
const FEW_BLOCKS: usize = 24;
/// The same in bytes of bf16, for tiles, which take in twice as much of the next cache in the time
/// of a product.
const TILES_IN_CACHE: usize = 1 << 20;
/// Multiplications below which waking other threads costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 16;

/// The rows of `x` times a weight: `y[m, n] = Σ_k x[m, k]·w[n, k] + b[n]`, by the path that
/// [`Path::detect`] finds.
///
/// # Shapes
/// - `x`: `[M, K]`, any M; `weight`: `[N, K]`; `bias`: `[N]`; returns `[M, N]`
///
/// # Precision
/// The sum in f32 in the given order, the bias (widened) added to it in f32, and one rounding to
/// `out`. [`Accumulation::Exact`] rounds once in all. x, weight, bias and output each have their
/// own format: f32, bf16 or f16. An element of the result depends on its row of x, its row of the
/// weight and its bias, and on nothing else: not on M, N, the threads, or the CPU. (Which NaN comes
/// out is nobody's contract.)
///
/// # Errors
/// If lengths do not fit together, something is f64, or `ULPSCOPE_CPU` asks for what there is not.
///
/// ```
/// use ulpscope_floats::{DType, Floats};
/// use ulpscope_kernels::{Accumulation, PackedWeight, linear};
///
/// let weight = Floats::from(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).cast(DType::Bf16);
/// let weight = PackedWeight::new(&weight, 2, 3)?; // two outputs, three inputs
/// let x = Floats::from(vec![1.0f32, 0.0, -1.0]).cast(DType::Bf16);
/// let y = linear(&x, (&weight).into(), None, Accumulation::Tile32, DType::F32)?;
/// assert_eq!(y, Floats::from(vec![-2.0f32, -2.0]));
/// # Ok::<(), ulpscope_kernels::KernelError>(())
/// ```
pub fn linear(
    x: &Floats,
    weight: Weight,
    bias: Option<&Floats>,
    order: Accumulation,
    out: DType,
) -> Result<Floats<'static>, KernelError> {
    linear_on(Path::detect()?, x, Projection { weight, bias }, order, out)
}

/// [`linear`] by a path of the caller's choice. The bits are the same by every path.
///
/// # Errors
/// As [`linear`], and if this CPU cannot run the path.
pub fn linear_on(
    path: Path,
    x: &Floats,
    projection: Projection,
    order: Accumulation,
    out: DType,
) -> Result<Floats<'static>, KernelError> {
    let mut all = linear_group_on(path, x, &[projection], order, out)?;
    Ok(all.pop().expect("one product for one weight"))
}

/// A weight and the bias that goes with it.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// `[N, K]`.
    pub weight: Weight<'a>,
    /// `[N]`, added in f32 before the result is rounded.
    pub bias: Option<&'a Floats<'a>>,
}

impl Projection<'_> {
    /// Refuses a bias of another length, or a weight that is no matrix.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        self.weight.check()?;
        let (expected, got) = (self.weight.outputs(), self.bias.map_or(self.weight.outputs(), Floats::len));
        if expected == got { Ok(()) } else { Err(KernelError::Length { what: "the bias", expected, got }) }
    }
}

impl<'a> From<&'a PackedWeight> for Projection<'a> {
    fn from(weight: &'a PackedWeight) -> Self {
        Projection { weight: weight.into(), bias: None }
    }
}

/// [`linear`] with several weights that share x (query, key and value, say): the same bits, for
/// less waiting of threads for each other.
///
/// # Shapes
/// - `x`: `[M, K]`, any M; each weight: `[N, K]`, each with its own N; returns one `[M, N]` for
///   each
///
/// # Errors
/// As [`linear_on`], and if the weights differ in K.
pub fn linear_group_on(
    path: Path,
    x: &Floats,
    projections: &[Projection],
    order: Accumulation,
    out: DType,
) -> Result<Vec<Floats<'static>>, KernelError> {
    let path = path.checked()?;
    let Some(first) = projections.first() else { return Ok(Vec::new()) };
    let inputs = first.weight.inputs();
    for projection in projections {
        projection.check()?;
        let weight = projection.weight;
        if weight.inputs() != inputs {
            let what = "a row of a weight beside others";
            return Err(KernelError::Length { what, expected: inputs, got: weight.inputs() });
        }
    }
    if !x.len().is_multiple_of(inputs) {
        return Err(KernelError::Rows { what: "x", row: inputs, got: x.len() });
    }
    if x.dtype() == DType::F64 {
        return Err(KernelError::DType { what: "x", dtype: DType::F64 });
    }
    let job = Job { path, x, order, inputs };
    match out {
        DType::F32 => job.run::<f32>(projections, Floats::from),
        DType::Bf16 => job.run::<bf16>(projections, Floats::from),
        DType::F16 => job.run::<f16>(projections, Floats::from),
        DType::F64 => Err(KernelError::DType { what: "the output", dtype: out }),
    }
}

/// [`linear_group_on`] into arrays that are there already, in the format of x. For callers that
/// have checked everything.
pub(crate) fn products<T: Element>(
    path: Path,
    x: &[T],
    projections: &[Projection],
    order: Accumulation,
    outs: &mut [&mut [T]],
) -> Result<(), KernelError> {
    let inputs = projections.first().map_or(1, |p| p.weight.inputs());
    Job { path, x: &T::view(x), order, inputs }.run_into(projections, outs)
}

/// A checked call.
struct Job<'a> {
    path: Path,
    x: &'a Floats<'a>,
    order: Accumulation,
    inputs: usize,
}

impl Job<'_> {
    fn run<O: Output>(
        &self,
        projections: &[Projection],
        wrap: fn(Vec<O>) -> Floats<'static>,
    ) -> Result<Vec<Floats<'static>>, KernelError> {
        let rows = self.x.len() / self.inputs;
        // Pages that are zero already, so that each is touched first by the thread that fills it.
        let zeros = |p: &Projection| bytemuck::allocation::zeroed_vec(rows * p.weight.outputs());
        let mut all: Vec<Vec<O>> = projections.iter().map(zeros).collect();
        all.iter_mut().for_each(|all| in_large_pages(all));
        let mut outs: Vec<&mut [O]> = all.iter_mut().map(Vec::as_mut_slice).collect();
        self.run_into(projections, &mut outs)?;
        Ok(all.into_iter().map(wrap).collect())
    }

    /// Fills one `[rows, N]` for each projection.
    fn run_into<O: Output>(
        &self,
        projections: &[Projection],
        outs: &mut [&mut [O]],
    ) -> Result<(), KernelError> {
        let rows = self.x.len() / self.inputs;
        let tasks: Vec<Task> = projections.iter().map(Task::new).collect::<Result<_, _>>()?;
        if rows > 0 {
            let input = Input::new(self);
            let plan = Plan::new(self.order, self.inputs);
            let tiles = plan.as_ref().filter(|_| projections.iter().any(|p| p.weight.dtype() == DType::Bf16));
            let tiles = tiles.and_then(|plan| self.tiles(plan));
            let many = self.path >= Path::Avx512 && rows >= MANY_ROWS && !self.dots();
            let shared = Shared {
                job: self,
                input: &input,
                plan: plan.as_ref(),
                tiles: tiles.as_ref(),
                packed: many.then(OnceLock::new),
            };
            if let (Some(packed), Some(plan), None) = (&shared.packed, &plan, &tiles) {
                packed.get_or_init(|| self.packed(plan, true));
            }

            // Cells are rows whose x fits the cache, and enough columns to give every thread
            // several, so that none waits long at the end; of few rows not so many, since reading
            // on is faster than beginning anew.
            let (fitting, multiple) = match (&tiles, many) {
                (Some(_), _) => (TILES_IN_CACHE / (2 * self.inputs), BLOCKS),
                (None, true) => (PACKED_IN_CACHE / (4 * self.inputs), BLOCKS),
                (None, false) => {
                    let size = if self.dots() { 2 } else { 4 };
                    (ROWS_IN_CACHE / (size * self.inputs), FEW_BLOCKS)
                }
            };
            let height = (fitting / multiple).max(1) * multiple;
            let columns: usize = projections.iter().map(|p| p.weight.outputs()).sum();
            let several = if rows < MANY_ROWS { 4 } else { 16 };
            let wanted = (several * threads()).div_ceil(rows.div_ceil(height));
            let panels = columns.div_ceil(WIDTH).div_ceil(wanted);
            let width = WIDTH * panels.next_multiple_of(MAX_PANELS).min(64);
            let work = outs.iter_mut().zip(projections).zip(&tasks).flat_map(|((y, p), task)| {
                grid(y, p.weight.outputs(), height, width).into_iter().map(move |cell| (task, cell))
            });
            if rows * columns * self.inputs < WORTH_A_THREAD {
                work.for_each(|(task, cell)| task.run(&shared, cell));
            } else {
                for_each_item(interleaved(work), |(task, cell)| task.run(&shared, cell));
            }
            if let Some(packed) = shared.packed.and_then(OnceLock::into_inner) {
                packed.keep();
            }
        }
        Ok(())
    }

    /// Whether many rows, too, are best multiplied in pairs of bf16 numbers.
    fn dots(&self) -> bool {
        let bf16 = matches!(self.x, Floats::Bf16(_)) && self.order == Accumulation::Dot2;
        bf16 && self.path.dots_are_fast()
    }

    /// x for AVX-512, if there are many rows of it.
    fn packed(&self, plan: &Plan, parallel: bool) -> packed::Rows {
        packed::Rows::pack(self.x, self.inputs, plan.leaf, parallel)
    }

    /// x in tiles, if the path and the order have a use for them.
    fn tiles(&self, plan: &Plan) -> Option<amx::Rows> {
        match self.x {
            Floats::Bf16(x) if self.path == Path::AmxBf16 && plan.leaf == Leaf::Tile32 => {
                Some(amx::Rows::pack(x, self.inputs))
            }
            _ => None,
        }
    }
}

/// x, as the kernels want it.
struct Input<'a> {
    x: &'a Floats<'a>,
    /// x widened to f32, once something asks for it.
    wide: OnceLock<Cow<'a, [f32]>>,
    /// One range per row, if anything will ask for them.
    ranges: Option<Vec<Range>>,
}

impl<'a> Input<'a> {
    fn new(job: &'a Job) -> Self {
        fn ranges<T: Storage>(path: Path, x: &[T], row: usize) -> Vec<Range> {
            const ROWS_PER_TASK: usize = 16;
            let mut ranges = vec![Range::of::<T>(&[]); x.len() / row];
            for_each_part(&mut ranges, ROWS_PER_TASK, |i, ranges| {
                let rows = x[i * ROWS_PER_TASK * row..].chunks_exact(row);
                ranges.iter_mut().zip(rows).for_each(|(range, row)| *range = Range::on(path, row));
            });
            ranges
        }
        // Kernels for many rows have no conditions.
        let wanted = match job.path {
            _ if job.order == Accumulation::Exact => false,
            Path::Portable | Path::AmxBf16 => true,
            Path::Avx512Bf16 => job.x.len() / job.inputs < MANY_ROWS || job.dots(),
            Path::Avx2 | Path::Avx512 => false,
        };
        let ranges = wanted.then(|| match job.x {
            Floats::F32(x) => Some(ranges(job.path, x, job.inputs)),
            Floats::Bf16(x) => Some(ranges(job.path, x, job.inputs)),
            Floats::F16(x) => Some(ranges(job.path, x, job.inputs)),
            Floats::F64(_) => None,
        });
        Input { x: job.x, wide: OnceLock::new(), ranges: ranges.flatten() }
    }

    fn wide(&self) -> &[f32] {
        self.wide.get_or_init(|| self.x.as_f32())
    }
}

/// What all threads share.
struct Shared<'a> {
    job: &'a Job<'a>,
    input: &'a Input<'a>,
    /// `None` for the exact order.
    plan: Option<&'a Plan>,
    /// x in tiles, for weights in bf16.
    tiles: Option<&'a amx::Rows>,
    /// x for many rows at once, if there are many and the path is one of AVX-512.
    packed: Option<OnceLock<packed::Rows>>,
}

/// One weight, its type still data.
enum Task<'a> {
    F32(Typed<'a, f32>),
    Bf16(Typed<'a, bf16>),
    F16(Typed<'a, f16>),
}

impl<'a> Task<'a> {
    fn new(projection: &'a Projection) -> Result<Self, KernelError> {
        let Projection { weight, bias } = projection;
        let bias = bias.map(|bias| bias.as_f32());
        if let Some(panels) = weight.panels() {
            Ok(Task::Bf16(Typed { panels, bias }))
        } else if let Some(panels) = weight.panels() {
            Ok(Task::F16(Typed { panels, bias }))
        } else if let Some(panels) = weight.panels() {
            Ok(Task::F32(Typed { panels, bias }))
        } else {
            Err(KernelError::DType { what: "the weight", dtype: weight.dtype() })
        }
    }

    fn run<O: Output>(&self, shared: &Shared, cell: Cell<O>) {
        match self {
            Task::F32(typed) => typed.run(shared, cell),
            Task::Bf16(typed) => typed.run(shared, cell),
            Task::F16(typed) => typed.run(shared, cell),
        }
    }
}

/// One weight.
struct Typed<'a, T> {
    panels: Panels<'a, T>,
    bias: Option<Cow<'a, [f32]>>,
}

/// One or two panels, the second the same as the first if a kernel for two is to compute one.
struct Columns<'a, T> {
    /// Columns of the output.
    range: std::ops::Range<usize>,
    panels: &'a [&'a [T]],
    /// Of the cell's rows of x, and of these panels.
    ranges: Option<(Range, Range)>,
}

impl<T> Columns<'_, T> {
    /// What the exponents of every row of the cell prove together with those of these panels.
    fn proved(&self, claim: fn(Range, Range) -> bool) -> bool {
        self.ranges.is_some_and(|(x, w)| claim(x, w))
    }
}

impl<T: Storage> Typed<'_, T> {
    fn run<O: Output>(&self, shared: &Shared, mut cell: Cell<O>) {
        let mut scratch: [Scratch; MAX_PANELS] = Default::default();
        let path = shared.job.path;
        let step = match (shared.plan, &shared.packed) {
            (None, _) => 1,
            (Some(_), None) => panels_at_once(path, cell.rows().len(), shared.job.dots()),
            (Some(_), Some(_)) => MAX_PANELS,
        };
        let range = shared.input.ranges.as_ref();
        let range = range.and_then(|ranges| ranges[cell.rows()].iter().copied().reduce(Range::join));
        let ranged = range.is_some();
        let end = cell.columns().end;
        let mut pair = packed::Pair::reused();
        // Held from here on: nothing below hands work to other threads.
        let mut unit = shared.tiles.filter(|_| T::DTYPE == DType::Bf16).map(|x| (x, amx::Unit::new()));
        for first in cell.columns().step_by(step * WIDTH) {
            let [a, b] = &mut scratch;
            let (left, left_range) = self.panels.get(path, first / WIDTH, ranged, a);
            let (right, right_range) = if step == 1 || first + WIDTH >= end {
                (left, left_range)
            } else {
                self.panels.get(path, first / WIDTH + 1, ranged, b)
            };
            let ranges = left_range.zip(right_range).map(|(left, right)| left.join(right));
            let ranges = range.zip(ranges);
            let panels = &[left, right][..step];
            let columns = Columns { range: first..end.min(first + step * WIDTH), panels, ranges };
            match shared.plan {
                Some(plan) => match &mut unit {
                    Some((x, unit)) if columns.proved(amx::admits) => {
                        self.tiles(x, unit, plan, &mut cell, columns);
                    }
                    _ => match &shared.packed {
                        Some(x) => {
                            // Numbers that tiles can't take. Not in parallel: this thread has tiles
                            // to keep, and might be handed a task that waits for this one.
                            let x = x.get_or_init(|| shared.job.packed(plan, false));
                            self.many(x, &mut pair, plan, &mut cell, columns);
                        }
                        None => self.columns(shared, plan, &mut cell, columns),
                    },
                },
                None => self.exact(shared, &mut cell, columns),
            }
        }
        pair.keep();
    }

    fn columns<O: Output>(&self, shared: &Shared, plan: &Plan, cell: &mut Cell<O>, columns: Columns<T>) {
        let Shared { job, input, .. } = shared;
        let mut path = job.path.min(Path::Avx512Bf16);
        let dot = match job.x {
            Floats::Bf16(x) if path == Path::Avx512Bf16 && T::DTYPE == DType::Bf16 => {
                let proved = plan.leaf == Leaf::OddFirst && columns.proved(Range::never_subnormal);
                proved.then(|| (x, in_bf16(columns.panels)))
            }
            _ => None,
        };
        let bias = self.bias.as_ref().map(|bias| &bias[columns.range.clone()]);
        let rows = cell.rows();
        if let Some((values, panels)) = dot {
            let x = &values[rows.start * job.inputs..rows.end * job.inputs];
            let block = Block { plan, x, panels: &panels[..columns.panels.len()] };
            return run_dot_bf16(path, &block, cell.patch(rows, columns.range.clone()), bias);
        }
        path = path.min(Path::Avx512);
        let exact = path == Path::Portable && columns.proved(Range::exact_products);

        let mut sums = [0.0; MAX_ROWS * MAX_PANELS * WIDTH];
        let mut scratch = Scratch::default();
        #[allow(unused_mut, reason = "only some machines have a path that widens beforehand")]
        let mut widened: Option<&[f32]> = None;
        #[cfg(target_arch = "x86_64")]
        if path == Path::Avx2 && rows.len() >= MANY_ROWS && T::DTYPE != DType::F32 {
            let panel = scratch.panel::<f32>(job.inputs);
            widen_panel(columns.panels[0], job.inputs, panel);
            widened = Some(panel);
        }
        let mut row = rows.start;
        while row < rows.end {
            let block = row_blocks(path, plan.leaf, rows.end - row);
            let tile = Tile { path, rows: block, exact };
            let to = cell.patch(row..row + block, columns.range.clone());
            let x = &input.wide()[row * job.inputs..(row + block) * job.inputs];
            match widened {
                Some(panel) => tile.run(&Block { plan, x, panels: &[panel] }, &mut sums),
                None => tile.run(&Block { plan, x, panels: columns.panels }, &mut sums),
            }
            to.fill(path, &mut sums, columns.panels.len() * WIDTH, bias);
            row += block;
        }
    }

    /// Many rows, by AVX-512.
    fn many<O: Output>(
        &self,
        x: &packed::Rows,
        pair: &mut packed::Pair,
        plan: &Plan,
        cell: &mut Cell<O>,
        columns: Columns<T>,
    ) {
        let (left, right) = (columns.panels[0], columns.panels[columns.panels.len() - 1]);
        pair.fill([left, right], plan.length);
        let bias = self.bias.as_ref().map(|bias| &bias[columns.range.clone()]);
        let mut sums = [0.0; packed::MAX_ROWS * packed::PANELS * WIDTH];
        // The next panels, if they are packed, lie behind these. The first blocks of rows have them
        // fetched.
        let mut ahead = Ahead::of([left, right]);
        for first in cell.rows().step_by(x.step()) {
            let next = ahead.next(plan).unwrap_or(pair.from(0).as_ptr().cast());
            packed::run(plan, x, first, pair.from(0), next, &mut sums);
            let rows = first..first + x.rows_of(first);
            let to = cell.patch(rows, columns.range.clone());
            to.fill(Path::Avx512, &mut sums, packed::PANELS * WIDTH, bias);
        }
    }

    /// By AMX.
    fn tiles<O: Output>(
        &self,
        x: &amx::Rows,
        unit: &mut amx::Unit,
        plan: &Plan,
        cell: &mut Cell<O>,
        columns: Columns<T>,
    ) {
        let panels = &in_bf16(columns.panels)[..columns.panels.len()];
        let bias = self.bias.as_ref().map(|bias| &bias[columns.range.clone()]);
        let mut sums = amx::Sums([0.0; amx::SUMS]);
        let end = cell.rows().end;
        for first in cell.rows().step_by(amx::MAX_ROWS) {
            let rows = amx::MAX_ROWS.min(end - first);
            unit.run(&amx::Block { plan, x, first, rows, panels }, &mut sums);
            let to = cell.patch(first..first + rows, columns.range.clone());
            to.fill(Path::AmxBf16, &mut sums.0, panels.len() * WIDTH, bias);
        }
    }

    fn exact<O: Output>(&self, shared: &Shared, cell: &mut Cell<O>, columns: Columns<T>) {
        let Shared { job, input, .. } = shared;
        let bias = self.bias.as_ref().map(|bias| &bias[columns.range.clone()]);
        for row in cell.rows() {
            let x = &input.wide()[row * job.inputs..(row + 1) * job.inputs];
            exact_row(job.path, x, columns.panels[0], bias, cell.part(row, columns.range.clone()));
        }
    }
}

/// Interleaves tasks so that each thread walks through neighbouring ones: what a kernel prefetched
/// is what its thread needs next.
fn interleaved<T>(work: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut work: Vec<(usize, T)> = work.enumerate().collect();
    let length = work.len().div_ceil(threads()).max(1);
    work.sort_by_key(|(i, _)| (i % length, *i));
    work.into_iter().map(|(_, work)| work)
}

/// The memory behind some panels that as many more would take, in portions of a cache line for each
/// pair of indices.
struct Ahead(std::ops::Range<*const u8>);

impl Ahead {
    fn of<T>([left, right]: [&[T]; 2]) -> Self {
        let start = right.as_ptr_range().end.cast::<u8>();
        Ahead(start..start.wrapping_add(size_of_val(left) + size_of_val(right)))
    }

    fn next(&mut self, plan: &Plan) -> Option<*const u8> {
        let start = self.0.start;
        self.0.start = start.wrapping_add(size_of::<Line>() * plan.length.div_ceil(2));
        (start < self.0.end).then_some(start)
    }
}

#[cfg(test)]
mod tests;
