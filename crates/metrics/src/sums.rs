//! Sums over blocks, in a fixed order.
//!
//! An array is cut into blocks of [`BLOCK`] elements. Within a block, element `i` is added to lane
//! `i % LANES`, one after another; the lanes are combined pairwise, and then the blocks are, in a
//! tree whose shape depends on their number alone. Blocks may therefore be computed on any thread.

use ulpscope_floats::Floats;

use crate::vector::{Loops, vectorised};

/// Relative tolerance of `torch.allclose`, for every dtype.
pub const RTOL: f64 = 1e-5;
/// Absolute tolerance of `torch.allclose`, for every dtype.
pub const ATOL: f64 = 1e-8;

/// Elements of a block, the unit of parallel work.
pub(crate) const BLOCK: usize = 4096;

/// Independent partial sums: enough that an addition need not wait for the one before it, and as
/// many as a register of AVX-512 holds.
const LANES: usize = 8;

/// Elements widened at a time; two pieces in f64 stay within the first-level cache.
const PIECE: usize = 1024;

/// What one block, or several, add up to. The sums run over the pairs of two finite values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sums {
    pub(crate) equal: u64,
    pub(crate) finite: u64,
    pub(crate) nonfinite: [u64; 2],
    pub(crate) max_abs: f64,
    pub(crate) abs: f64,
    pub(crate) sq_diff: f64,
    pub(crate) sq_a: f64,
    pub(crate) sq_b: f64,
    pub(crate) dot: f64,
    pub(crate) close: bool,
}

impl Sums {
    pub(crate) const EMPTY: Sums = Sums {
        equal: 0,
        finite: 0,
        nonfinite: [0; 2],
        max_abs: 0.0,
        abs: 0.0,
        sq_diff: 0.0,
        sq_a: 0.0,
        sq_b: 0.0,
        dot: 0.0,
        close: true,
    };

    pub(crate) fn plus(self, other: Sums) -> Sums {
        Sums {
            equal: self.equal + other.equal,
            finite: self.finite + other.finite,
            nonfinite: [self.nonfinite[0] + other.nonfinite[0], self.nonfinite[1] + other.nonfinite[1]],
            max_abs: self.max_abs.max(other.max_abs),
            abs: self.abs + other.abs,
            sq_diff: self.sq_diff + other.sq_diff,
            sq_a: self.sq_a + other.sq_a,
            sq_b: self.sq_b + other.sq_b,
            dot: self.dot + other.dot,
            close: self.close && other.close,
        }
    }

    /// Combines the blocks in a tree: the left half is the largest power of two below the number of
    /// blocks.
    pub(crate) fn tree(blocks: &[Sums]) -> Sums {
        match blocks {
            [] => Sums::EMPTY,
            [one] => *one,
            _ => {
                let (left, right) = blocks.split_at(blocks.len().next_power_of_two() / 2);
                Sums::tree(left).plus(Sums::tree(right))
            }
        }
    }

    /// The sums over two arrays of one length, of at most [`BLOCK`] elements.
    pub(crate) fn block(a: &Floats, b: &Floats) -> Sums {
        let mut lanes = Lanes::default();
        let counts = vectorised(Block { a, b, lanes: &mut lanes });
        lanes.finish(counts)
    }
}

/// Adds a block to lanes that lie in memory: this is what the compiler makes vectors of, while it
/// takes single numbers for what they are.
struct Block<'x> {
    a: &'x Floats<'x>,
    b: &'x Floats<'x>,
    lanes: &'x mut Lanes,
}

impl Loops for Block<'_> {
    type Output = Sums;

    /// All but the sums.
    #[inline(always)]
    fn run(self) -> Sums {
        match (self.a, self.b) {
            (Floats::F64(_), _) | (_, Floats::F64(_)) => self.add::<f64>(),
            _ => self.add::<f32>(),
        }
    }
}

/// A format that both sides are widened to, exactly, before anything is compared.
pub(crate) trait Wide: Copy {
    const ZERO: Self;
    fn read(from: &Floats, start: usize, into: &mut [Self]);
    fn f64(self) -> f64;
    fn same_bits(self, other: Self) -> bool;
    fn nan(self) -> bool;
    fn finite(self) -> bool;
}

macro_rules! wide {
    ($($t:ty, $read:ident, $exponent:literal);*) => {$(
        impl Wide for $t {
            const ZERO: $t = 0.0;
            #[inline(always)]
            fn read(from: &Floats, start: usize, into: &mut [$t]) { from.$read(start, into) }
            #[inline(always)]
            fn f64(self) -> f64 { f64::from(self) }
            #[inline(always)]
            fn same_bits(self, other: $t) -> bool { self.to_bits() == other.to_bits() }
            #[inline(always)]
            fn nan(self) -> bool { self.is_nan() }
            // On the bits, which the compiler turns into integer vector code.
            #[inline(always)]
            fn finite(self) -> bool { self.to_bits() & $exponent != $exponent }
        }
    )*};
}
wide!(f32, read_f32, 0x7f80_0000; f64, read_f64, 0x7ff0_0000_0000_0000);

impl Block<'_> {
    #[inline(always)]
    fn add<W: Wide>(self) -> Sums {
        let Block { a, b, lanes } = self;
        if a.dtype() == b.dtype() && a.bytes() == b.bytes() && add_identical::<W>(a, lanes) {
            return Sums { equal: a.len() as u64, finite: a.len() as u64, ..Sums::EMPTY };
        }
        let (mut wide_a, mut wide_b) = ([W::ZERO; PIECE], [W::ZERO; PIECE]);
        let mut sums = Sums::EMPTY;
        for start in (0..a.len()).step_by(PIECE) {
            let n = PIECE.min(a.len() - start);
            let (x, y) = (&mut wide_a[..n], &mut wide_b[..n]);
            W::read(a, start, x);
            W::read(b, start, y);
            let mut equal = count(x, y, W::same_bits);
            let bad = [count(x, x, |x, _| !x.finite()), count(y, y, |y, _| !y.finite())];
            let mut finite = n;
            if bad != [0, 0] {
                for (x, y) in x.iter_mut().zip(y.iter_mut()).filter(|(x, y)| !(x.finite() && y.finite())) {
                    equal += usize::from(x.nan() && y.nan() && !x.same_bits(*y));
                    sums.close &= !x.nan() && x.same_bits(*y);
                    finite -= 1;
                    // Adds nothing to any sum below, and no branch to the loop that adds.
                    (*x, *y) = (W::ZERO, W::ZERO);
                }
            }
            sums.equal += equal as u64;
            sums.finite += finite as u64;
            sums.nonfinite = [sums.nonfinite[0] + bad[0] as u64, sums.nonfinite[1] + bad[1] as u64];
            sums.close = sums.close && (equal == n || all_close(x, y));
            lanes.add(whole_lanes(&mut wide_a, n), whole_lanes(&mut wide_b, n));
        }
        sums
    }
}

/// Adds a block that is the same, bit by bit, on both sides, which most weights are: one sum of
/// squares serves for three. Adds nothing, and says so, if not all of it is finite.
#[inline(always)]
fn add_identical<W: Wide>(a: &Floats, lanes: &mut Lanes) -> bool {
    let mut wide = [W::ZERO; PIECE];
    let mut squares = [0.0; LANES];
    for start in (0..a.len()).step_by(PIECE) {
        let n = PIECE.min(a.len() - start);
        let x = &mut wide[..n];
        W::read(a, start, x);
        if count(x, x, |x, _| !x.finite()) > 0 {
            return false;
        }
        for x in whole_lanes(&mut wide, n) {
            for j in 0..LANES {
                squares[j] += x[j].f64() * x[j].f64();
            }
        }
    }
    (lanes.sq_a, lanes.sq_b, lanes.dot) = (squares, squares, squares);
    true
}

/// The first `n` elements in groups, zeros filling up the last group: they add nothing to any sum.
#[inline(always)]
fn whole_lanes<W: Wide>(piece: &mut [W; PIECE], n: usize) -> &[[W; LANES]] {
    let padded = n.next_multiple_of(LANES);
    piece[n..padded].fill(W::ZERO);
    piece[..padded].as_chunks().0
}

#[inline(always)]
fn count<W: Wide>(a: &[W], b: &[W], is: impl Fn(W, W) -> bool) -> usize {
    // In u32, of which as many fit into a register as f32 elements do, and wrapping, because the
    // check for an overflow, which a piece is too short for, would keep the loop from being vector
    // code.
    a.iter().zip(b).fold(0u32, |n, (&x, &y)| n.wrapping_add(u32::from(is(x, y)))) as usize
}

/// Whether every pair of finite values is close in the sense of `torch.allclose`.
#[inline(always)]
fn all_close<W: Wide>(a: &[W], b: &[W]) -> bool {
    // `&` and no early exit: a piece is short, and this way it is vector code.
    a.iter()
        .zip(b)
        .fold(true, |close, (x, y)| close & ((x.f64() - y.f64()).abs() <= ATOL + RTOL * y.f64().abs()))
}

#[inline(always)]
fn pairwise(l: [f64; LANES]) -> f64 {
    ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
}

#[inline(always)]
fn each(lane: impl Fn(usize) -> f64) -> [f64; LANES] {
    std::array::from_fn(lane)
}

#[derive(Default)]
struct Lanes {
    max_abs: [f64; LANES],
    abs: [f64; LANES],
    sq_diff: [f64; LANES],
    sq_a: [f64; LANES],
    sq_b: [f64; LANES],
    dot: [f64; LANES],
}

impl Lanes {
    /// Adds the pairs of two pieces.
    #[inline(always)]
    fn add<W: Wide>(&mut self, a: &[[W; LANES]], b: &[[W; LANES]]) {
        // Copies in local variables stay in registers; fields behind `self` would not.
        let Lanes { mut max_abs, mut abs, mut sq_diff, mut sq_a, mut sq_b, mut dot } = *self;
        // One operation on all lanes after the other, which is what vector instructions do.
        for (x, y) in a.iter().zip(b) {
            let (x, y) = (each(|j| x[j].f64()), each(|j| y[j].f64()));
            let d = each(|j| x[j] - y[j]);
            let size = each(|j| d[j].abs());
            max_abs = each(|j| if size[j] > max_abs[j] { size[j] } else { max_abs[j] });
            abs = each(|j| abs[j] + size[j]);
            sq_diff = each(|j| sq_diff[j] + d[j] * d[j]);
            sq_a = each(|j| sq_a[j] + x[j] * x[j]);
            sq_b = each(|j| sq_b[j] + y[j] * y[j]);
            dot = each(|j| dot[j] + x[j] * y[j]);
        }
        *self = Lanes { max_abs, abs, sq_diff, sq_a, sq_b, dot };
    }

    fn finish(self, counts: Sums) -> Sums {
        Sums {
            max_abs: self.max_abs.into_iter().fold(0.0, f64::max),
            abs: pairwise(self.abs),
            sq_diff: pairwise(self.sq_diff),
            sq_a: pairwise(self.sq_a),
            sq_b: pairwise(self.sq_b),
            dot: pairwise(self.dot),
            ..counts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_depends_on_the_number_of_blocks_alone() {
        let leaf = |abs| Sums { abs, ..Sums::EMPTY };
        let tiny = 0.75 * (-53f64).exp2();
        // ((1 + tiny) + (tiny + tiny)) + tiny: the first is lost, the pair is not, the last is.
        let blocks = [leaf(1.0), leaf(tiny), leaf(tiny), leaf(tiny), leaf(tiny)];
        assert_eq!(Sums::tree(&blocks).abs, 1.0 + f64::EPSILON);
        assert_eq!(Sums::tree(&blocks[..3]).abs, 1.0);
        assert_eq!(Sums::tree(&[]), Sums::EMPTY);
    }

    /// The short way for identical blocks gives the bits of the long one.
    #[test]
    fn the_short_way_changes_nothing() {
        let x: Vec<f32> = (0..4001).map(|i| (i as f32).sin() * 3.0).collect();
        let narrow = Floats::from(x);
        let wide = narrow.cast(ulpscope_floats::DType::F64); // other format, hence the long way
        let short = Sums::block(&narrow, &narrow);
        assert_eq!(short, Sums::block(&narrow, &wide));
        assert_eq!((short.equal, short.finite), (4001, 4001));
    }
}
