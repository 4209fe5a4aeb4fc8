//! Arrays that are near each other, not equal, once one is rearranged: a converted checkpoint that
//! is also quantised.

use ulpscope_floats::Floats;

use ulpscope_metrics::correlation;

use crate::order::{Order, head_orders};
use crate::rearrangement::{Axis, Rearrangement};
use crate::recognisers::layout::matched::matched;
use crate::recognisers::layout::shards;
use crate::view::View;

/// Rows, and columns, that are compared to find a likely order.
const SAMPLE: usize = 24;

/// A correlation of the sample that unrelated numbers do not reach.
const LIKELY: f64 = 0.8;

/// The rearrangement with a name of its own under which `a`'s sample is most like `b`'s, else any
/// of rows or columns; and `a` rearranged so.
pub(crate) fn aligned(
    a: &Floats,
    b: &Floats,
    rows: usize,
    columns: usize,
    heads: &[usize],
) -> Option<(Rearrangement, Floats<'static>)> {
    if rows < 4 || columns < 4 {
        return None;
    }
    let (view_a, view_b) = (View::plain(a), View::plain(b));
    // Steps that share no factor with powers of two, so that the sample is none of even rows alone.
    let spread = |i: usize, n: usize| (i * ((n / SAMPLE) | 1) + 1) % n;
    let likeness = |source: &dyn Fn(usize) -> usize| {
        let places = (0..SAMPLE * SAMPLE).map(|i| (spread(i / SAMPLE, rows), spread(i % SAMPLE, columns)));
        correlation(places.map(|(row, column)| {
            let at = row * columns + column;
            (view_a.get(source(at)), view_b.get(at))
        }))
    };
    let mut candidates: Vec<Rearrangement> = vec![
        Rearrangement::Transposed { rows, columns },
        Rearrangement::Transposed { rows: columns, columns: rows },
        Rearrangement::Permuted { axis: Axis::Columns, order: Order::Neighbours, of: columns },
    ];
    // Whole heads further on, as far as there are heads.
    let rolls = heads.iter().filter(|&&n| n > 1 && rows.is_multiple_of(n)).flat_map(|&n| {
        let half = n as isize / 2;
        (-half..=half).filter(|by| *by != 0).map(move |by| Order::Rolled(by * (rows / n) as isize))
    });
    candidates.extend(
        std::iter::once(Order::Reversed)
            .chain(head_orders(rows, heads).take(400))
            .chain(rolls)
            .map(|order| Rearrangement::Permuted { axis: Axis::Rows, order, of: rows }),
    );
    let source = |by: &Rearrangement, at: usize| match by {
        // Element [i, j] of a `[rows, columns]` lies at j * rows + i.
        Rearrangement::Transposed { rows, columns } => at % rows * columns + at / rows,
        Rearrangement::Permuted { axis: Axis::Columns, order, .. } => {
            at - at % columns + order.source(at % columns, columns)
        }
        Rearrangement::Permuted { order, .. } => order.source(at / columns, rows) * columns + at % columns,
        Rearrangement::Shards { count, stacked } => shards::source(at, *count, *stacked, rows, columns),
        Rearrangement::Shifted { .. } => at,
    };
    let best = candidates
        .into_iter()
        .map(|by| (likeness(&|at| source(&by, at)), by))
        .filter(|(likeness, _)| *likeness > LIKELY)
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    let any = |axis| matched(view_a, view_b, (rows, columns), axis, heads);
    let by = best.map(|(_, by)| by).or_else(|| any(Axis::Rows)).or_else(|| any(Axis::Columns))?;
    let moved: Vec<f64> = (0..a.len()).map(|at| view_a.get(source(&by, at))).collect();
    Some((by, Floats::from(moved).cast(a.dtype())))
}
