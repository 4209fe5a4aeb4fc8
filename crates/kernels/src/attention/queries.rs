//! What a block of queries works on.

use std::ops::Range as Span;

use super::Attention;
use super::mkl::Mkl;
use super::product::{Matrix, Rows, Way};
use crate::element::Element;
use crate::output::Output;
use crate::plan::Plan;
use crate::storage::WIDTH;

/// Rows of probabilities that meet the values together: few enough to stay in the nearest cache, a
/// multiple of what kernels take.
const PIECE: usize = 24;

/// The heads of one group, for a span of tokens: row i is of token `span.start + i / share` and
/// head `i mod share`.
pub(super) struct Queries<'a, T> {
    pub(super) way: Way,
    pub(super) shape: &'a Attention,
    /// `[T, D]`.
    pub(super) keys: &'a Matrix<T>,
    /// `[D, T]`.
    pub(super) values: &'a Matrix<T>,
    /// T.
    pub(super) tokens: usize,
    pub(super) span: Span<usize>,
    /// Where products have orders that depend on their shapes.
    pub(super) mkl: Option<Mkl<'a, T>>,
}

/// Buffers that a thread uses again.
pub(super) struct Scratch<T> {
    pub(super) q: Rows<T>,
    pub(super) p: Rows<T>,
    pub(super) narrow: Vec<T>,
    pub(super) wide: Vec<f32>,
    pub(super) mixed: Vec<f32>,
    pub(super) out: Vec<T>,
}

impl<T: Element> Scratch<T> {
    pub(super) fn new() -> Self {
        Scratch {
            q: Rows::new(),
            p: Rows::new(),
            narrow: Vec::new(),
            wide: Vec::new(),
            mixed: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl<T: Element> Queries<'_, T> {
    fn share(&self) -> usize {
        self.shape.heads / self.shape.groups
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> usize {
        self.span.len() * self.share()
    }

    /// The token of a row.
    fn token(&self, row: usize) -> usize {
        self.span.start + row / self.share()
    }

    /// The keys that a row sees.
    pub(super) fn seen(&self, row: usize) -> Span<usize> {
        self.shape.seen(self.token(row))
    }

    /// What no product of a query and a key exceeds in magnitude, but for roundings. `None` if some
    /// number is not finite.
    pub(super) fn largest(&self, scratch: &Scratch<T>) -> Option<f64> {
        let q = scratch.q.bound().filter(|_| self.keys.finite)?;
        Some(f64::from(q + self.keys.range.bound()).exp2() * self.shape.head_dim as f64)
    }

    /// The rows in portions.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Span<usize>> + use<T> {
        let rows = self.rows();
        (0..rows).step_by(PIECE).map(move |start| start..rows.min(start + PIECE))
    }

    /// Scores of these keys, whose number is rounded up to a whole panel and returned as the stride
    /// of `out`. Where a whole panel is masked, `out` is left as it was, unless `all` are asked
    /// for.
    pub(super) fn scores<O: Output>(
        &self,
        q: &Rows<T>,
        plan: Option<&Plan>,
        keys: Span<usize>,
        all: bool,
        out: &mut Vec<O>,
    ) -> usize {
        let stride = keys.len().next_multiple_of(WIDTH);
        out.resize(self.rows() * stride, O::ZERO);
        let panels = keys.start / WIDTH..keys.end.div_ceil(WIDTH);
        let row =
            |token: usize| (token.clamp(self.span.start, self.span.end) - self.span.start) * self.share();
        // From the first that sees the first key to the last that sees the last one.
        let rows_of = |panels: Span<usize>| match self.shape.window {
            _ if all => 0..self.rows(),
            None => row(panels.start * WIDTH)..self.rows(),
            Some(window) => {
                row(panels.start * WIDTH)..row((panels.end * WIDTH - 1).saturating_add(window.get()))
            }
        };
        q.multiply(self.way, plan, self.keys, panels, 0, rows_of, out, stride);
        stride
    }

    /// `[rows, D]`: the values of the tokens `block`, weighted with probabilities.
    ///
    /// Only the probabilities in `known`, counted from the block's first token, are not zero; it
    /// begins with a whole chunk. `fill` writes them row by row, and may be called twice for each
    /// row. `plan` is for the tokens up to the end of `known`.
    #[allow(clippy::too_many_arguments)] // most of them plain coordinates
    pub(super) fn mix<O: Output>(
        &self,
        p: &mut Rows<T>,
        rows: usize,
        known: Span<usize>,
        block: Span<usize>,
        plan: impl Fn(usize) -> Option<Plan>,
        mut fill: impl FnMut(usize, &mut [T]),
        out: &mut [O],
    ) {
        let mut multiply = |taken: Span<usize>, out: &mut [O]| {
            for (i, row) in p.room(rows, taken.len()).chunks_exact_mut(taken.len()).enumerate() {
                let (zeros, row) = row.split_at_mut(known.start - taken.start);
                let (row, more) = row.split_at_mut(known.len());
                zeros.fill(T::ZERO);
                fill(i, row);
                more.fill(T::ZERO);
            }
            let plan = plan(taken.end).map(|plan| plan.without(taken.start));
            p.ready(self.way, plan.as_ref(), self.values);
            let (panels, width) = (self.values.panels(), self.shape.head_dim);
            let (start, all) = (block.start + taken.start, |_| 0..rows);
            p.multiply(self.way, plan.as_ref(), self.values, panels, start, all, out, width);
        };
        multiply(known.clone(), out);
        // Whether zeros make +0 of -0 depends on the signs of the values they meet.
        let negative = O::from_f64(-0.0);
        if known.len() < block.len() && out.iter().any(|x| x.same(negative)) {
            multiply(0..block.len(), out);
        }
    }
}
