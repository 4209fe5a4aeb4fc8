//! [`Leaf::Tile32`](crate::plan::Leaf::Tile32) by AMX: `tdpbf16ps` takes a chunk of 32 products for
//! 16 by 16 outputs.
//!
//! For each output it adds the even products of the chunk in sequence to a zero, the odd ones to
//! another, and then the sum of both sums to the accumulator: that order's definition. But it takes
//! subnormal numbers for zero, in and out, and nothing is known here of products beyond f32's
//! range. The caller has to rule out both; see [`admits`].
//!
//! A panel's 16 pairs by 16 outputs are a tile as they lie in memory. The rows of x are packed
//! likewise: [`Rows`].

use std::marker::PhantomData;

use ulpscope_floats::bf16;

use crate::plan::{Leaf, Plan, Segment};
use crate::range::Range;
use crate::storage::{CHUNK, WIDTH};

#[cfg(target_arch = "x86_64")]
mod detect;
#[cfg_attr(not(target_arch = "x86_64"), path = "amx/none.rs")]
mod instructions;
mod rows;

#[cfg(all(test, target_arch = "x86_64"))]
#[path = "../../tests/emulator/mod.rs"]
mod emulator;

#[cfg(target_arch = "x86_64")]
pub(crate) use detect::{assume, available};
use instructions::{configure, one_by_one, one_by_two, release, two_by_one, two_by_two};
pub(crate) use rows::{Rows, TILE_ROWS};

/// The most rows of x that a kernel takes at once: two tiles.
pub(crate) const MAX_ROWS: usize = 2 * TILE_ROWS;
/// The most panels that a kernel takes at once.
pub(crate) const MAX_PANELS: usize = 2;
/// Bytes of a row of a tile, and from one row of a packed tile to the next.
const ROW: usize = 64;
/// Bytes of a chunk of a panel: a tile.
const TILE: usize = 16 * ROW;
/// Sums of the largest block.
pub(crate) const SUMS: usize = MAX_ROWS * MAX_PANELS * WIDTH;

/// Whether the tiles compute what the order says for numbers of these ranges.
pub(crate) fn admits(x: Range, w: Range) -> bool {
    x.never_subnormal(w) && x.exact_products(w)
}

/// Room for the sums of a block, `[rows, panels · 16]`, on a cache line's boundary.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [f32; SUMS]);

/// This thread's tiles, in use as long as this lives. Then they are given up, so that a switch of
/// threads need not save them. No other code may use tiles in between, so the holder must not give
/// work to a thread pool.
pub(crate) struct Unit {
    /// Rows of the upper and of the lower tile of x.
    rows: [usize; 2],
    room: Box<Sums>,
    /// Tiles belong to a thread.
    thread: PhantomData<*const ()>,
}

/// What one call works on: `x` from row `first` on, a multiple of 16.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) x: &'a Rows,
    pub(crate) first: usize,
    /// 1 to [`MAX_ROWS`].
    pub(crate) rows: usize,
    /// 1 to [`MAX_PANELS`].
    pub(crate) panels: &'a [&'a [bf16]],
}

impl Unit {
    /// # Panics
    /// If the CPU has no tiles.
    pub(crate) fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        assert!(available(), "the path was checked");
        Unit { rows: [0; 2], room: Box::new(Sums([0.0; SUMS])), thread: PhantomData }
    }

    /// The sums of a block, `[rows, panels · 16]`. x and the panels must be such as [`admits`]
    /// admits.
    ///
    /// # Panics
    /// If the block reaches beyond x, its panels or what a kernel takes, or the plan is none of
    /// tiles.
    pub(crate) fn run(&mut self, block: &Block, out: &mut Sums) {
        let Block { plan, x, first, rows, panels } = *block;
        assert!(plan.leaf == Leaf::Tile32 && x.length() == plan.length);
        assert!(first.is_multiple_of(TILE_ROWS) && rows > 0 && rows <= MAX_ROWS && first + rows <= x.rows());
        assert!(!panels.is_empty() && panels.len() <= MAX_PANELS);
        assert!(panels.iter().all(|panel| panel.len() >= x.chunks() * CHUNK * WIDTH));
        // A tile of x has all its rows, wherever the block ends.
        let upper = x.rows_of(first);
        let lower = if rows > TILE_ROWS { x.rows_of(first + TILE_ROWS) } else { 0 };
        self.configure([upper, lower]);
        let mut segments = plan.segments.iter();
        let segment = segments.next().expect("a plan has segments");
        self.segment(block, segment, out);
        if plan.segments.len() > 1 {
            let mut room = std::mem::replace(&mut self.room, Box::new(Sums([0.0; SUMS])));
            for segment in segments {
                assert_eq!(segment.merges, 1, "blocks of tiles are added up in order");
                self.segment(block, segment, &mut room);
                out.0.iter_mut().zip(&room.0).for_each(|(total, sum)| *total += sum);
            }
            self.room = room;
        }
    }

    /// Gives the tiles their shapes, if they have others.
    fn configure(&mut self, rows: [usize; 2]) {
        if rows[0] == self.rows[0] && (rows[1] == self.rows[1] || rows[1] == 0) {
            return;
        }
        self.rows = rows;
        let mut config = Config { palette: 1, start_row: 0, zero: [0; 14], bytes: [0; 16], rows: [0; 16] };
        let [upper, lower] = rows.map(|rows| rows as u8);
        for (tile, rows) in
            [(0, upper), (1, upper), (2, lower), (3, lower), (4, upper), (5, lower), (6, 16), (7, 16)]
        {
            // An unused tile has neither rows nor bytes.
            config.rows[tile] = rows;
            config.bytes[tile] = if rows == 0 { 0 } else { ROW as u16 };
        }
        // SAFETY: the CPU has tiles and the operating system has allowed them, or there would be no
        // unit; palette 1 has eight of up to 16 rows of 64 bytes.
        unsafe { configure(&config) };
    }

    fn segment(&self, block: &Block, segment: &Segment, out: &mut Sums) {
        let Block { x, first, rows, panels, .. } = *block;
        assert!(segment.step == 1 && segment.start.is_multiple_of(CHUNK / 2));
        let start = segment.start / (CHUNK / 2);
        let chunks = (segment.pairs + usize::from(segment.lone.is_some())).div_ceil(CHUNK / 2);
        assert!(chunks > 0 && start + chunks <= x.chunks());
        let at = Operands {
            x: [
                x.tile(first, start),
                if rows > TILE_ROWS { x.tile(first + TILE_ROWS, start) } else { x.tile(first, start) },
            ],
            step: self.rows[1] * ROW,
            w: [panels[0], panels[panels.len() - 1]].map(|panel| panel[start * CHUNK * WIDTH..].as_ptr()),
            chunks,
            out: out.0.as_mut_ptr(),
        };
        // SAFETY: the tiles are configured for these rows. From each pointer, `chunks` tiles can be
        // read, as asserted: those of x by the layout of `Rows`, those of panels by their length.
        // `out` takes 32 by 32 sums.
        unsafe {
            match (rows > TILE_ROWS, panels.len()) {
                (false, 1) => one_by_one(&at, self.rows[0] * ROW),
                (false, _) => one_by_two(&at, self.rows[0] * ROW),
                (true, 1) => two_by_one(&at),
                (true, _) => two_by_two(&at),
            }
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if self.rows[0] > 0 {
            // SAFETY: there are tiles; nothing is left in them that anybody needs.
            unsafe { release() };
        }
    }
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    zero: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Where a kernel's numbers are.
struct Operands {
    /// First tiles of the upper and of the lower rows of x.
    x: [*const bf16; 2],
    /// Bytes from one lower tile to the next. Where there are lower tiles, the upper ones are
    /// whole.
    step: usize,
    /// First tiles of the panels.
    w: [*const bf16; 2],
    /// At least 1.
    chunks: usize,
    out: *mut f32,
}
