//! There is no AVX-512 on this architecture, so that nothing here is ever called.

use ulpscope_floats::Floats;

use crate::plan::{Leaf, Plan};
use crate::storage::{Storage, WIDTH};
use crate::weight::Line;

pub(crate) const PANELS: usize = 2;
pub(crate) const MAX_ROWS: usize = 1;

#[derive(Default)]
pub(crate) struct Rows;

impl Rows {
    pub(crate) fn pack(_: &Floats, _: usize, _: Leaf, _: bool) -> Self {
        unreachable!("the path was checked")
    }

    pub(crate) fn keep(self) {}

    pub(crate) fn repack(&mut self, _: &[f32], _: usize, _: Leaf) {
        unreachable!("the path was checked")
    }

    pub(crate) fn rows_of(&self, _: usize) -> usize {
        unreachable!("the path was checked")
    }

    pub(crate) fn step(&self) -> usize {
        unreachable!("the path was checked")
    }
}

pub(crate) fn pair_lines(_: usize) -> usize {
    unreachable!("the path was checked")
}

pub(crate) fn widen_pair<T: Storage>(_: [&[T]; PANELS], _: usize, _: &mut [Line]) {
    unreachable!("the path was checked")
}

#[derive(Default)]
pub(crate) struct Pair;

impl Pair {
    pub(crate) fn reused() -> Self {
        Pair
    }

    pub(crate) fn keep(self) {}

    pub(crate) fn from(&self, _: usize) -> &[Line] {
        unreachable!("the path was checked")
    }

    pub(crate) fn fill<T: Storage>(&mut self, _: [&[T]; PANELS], _: usize) {
        unreachable!("the path was checked")
    }
}

pub(crate) fn run(
    _: &Plan,
    _: &Rows,
    _: usize,
    _: &[Line],
    _: *const u8,
    _: &mut [f32; MAX_ROWS * PANELS * WIDTH],
) {
    unreachable!("the path was checked")
}
