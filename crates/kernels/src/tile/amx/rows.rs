//! Rows of x as tiles.

use ulpscope_floats::bf16;

use crate::spin_pool::for_each_part;
use crate::storage::CHUNK;
use crate::weight::Line;

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// Rows of x in tiles of 16 rows (fewer at the end) by a chunk of 32 numbers, filled up with zeros.
/// The tiles of the same rows follow each other.
#[derive(Default)]
pub(crate) struct Rows {
    lines: Vec<Line>,
    rows: usize,
    length: usize,
}

impl Rows {
    /// Packs `x`, a whole number of rows of `length`, on all threads that there are.
    pub(crate) fn pack(x: &[bf16], length: usize) -> Self {
        let mut packed = Rows::default();
        packed.resize(x.len() / length, length);
        let lines = TILE_ROWS * packed.chunks();
        for_each_part(&mut packed.lines, lines, |i, lines| {
            let x = &x[i * TILE_ROWS * length..];
            tiles(&x[..x.len().min(TILE_ROWS * length)], length, lines);
        });
        packed
    }

    /// Packs `x` in the place of what was there, on this thread.
    pub(crate) fn repack(&mut self, x: &[bf16], length: usize) {
        self.resize(x.len() / length, length);
        let lines = TILE_ROWS * self.chunks();
        for (lines, x) in self.lines.chunks_mut(lines).zip(x.chunks(TILE_ROWS * length)) {
            tiles(x, length, lines);
        }
    }

    fn resize(&mut self, rows: usize, length: usize) {
        (self.rows, self.length) = (rows, length);
        self.lines.resize(rows * length.div_ceil(CHUNK), Line::ZERO);
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Chunks of a row.
    pub(crate) fn chunks(&self) -> usize {
        self.length.div_ceil(CHUNK)
    }

    /// Rows of the tiles that begin with row `first`.
    pub(crate) fn rows_of(&self, first: usize) -> usize {
        TILE_ROWS.min(self.rows - first)
    }

    /// The tile of a chunk and the rows from `first`, a multiple of 16, on. The next chunk's tile
    /// follows it.
    ///
    /// # Panics
    /// If there is no such tile.
    pub(crate) fn tile(&self, first: usize, chunk: usize) -> *const bf16 {
        assert!(first.is_multiple_of(TILE_ROWS) && first < self.rows && chunk < self.chunks());
        self.lines[first * self.chunks() + chunk * self.rows_of(first)..].as_ptr().cast()
    }
}

/// Fills the tiles of up to 16 rows.
fn tiles(x: &[bf16], length: usize, lines: &mut [Line]) {
    let rows = x.len() / length;
    for (r, row) in x.chunks_exact(length).enumerate() {
        let places = lines[r..].iter_mut().step_by(rows);
        for (chunk, line) in row.chunks(CHUNK).zip(places) {
            let line: &mut [bf16] = bytemuck::cast_slice_mut(std::slice::from_mut(line));
            line[..chunk.len()].copy_from_slice(chunk);
            line[chunk.len()..].fill(bf16::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::undocumented_unsafe_blocks)]
    fn every_number_is_in_its_tile() {
        for (rows, length) in [(1, 1), (3, 33), (16, 64), (17, 31), (40, 70), (130, 576)] {
            let x: Vec<bf16> = (0..rows * length).map(|i| bf16::from_bits(i as u16 | 1)).collect();
            let packed = Rows::pack(&x, length);
            let mut again = Rows::pack(&x[..length], length);
            again.repack(&x, length);
            for packed in [&packed, &again] {
                for row in 0..rows {
                    for k in 0..packed.chunks() * CHUNK {
                        let first = row / TILE_ROWS * TILE_ROWS;
                        let tile = packed.tile(first, k / CHUNK);
                        // SAFETY: a tile has as many whole rows of 32 numbers as it says.
                        let got = unsafe { *tile.add((row - first) * CHUNK + k % CHUNK) };
                        let want = if k < length { x[row * length + k] } else { bf16::ZERO };
                        assert_eq!(got.to_bits(), want.to_bits(), "row {row}, k {k} of [{rows}, {length}]");
                    }
                }
            }
        }
    }
}
