//! The values that occur in a group.

use ulpscope_floats::{DType, Floats, ulp};

/// As many values as the widest code has.
const MOST: usize = 256;

/// Slots of the table that values are collected in.
const SLOTS: usize = 1024;

/// Distinct finite values, in order, and how exactly they are known.
pub(super) struct Values {
    pub(super) sorted: Vec<f64>,
    /// The largest magnitude.
    pub(super) largest: f64,
    /// The value that has it.
    pub(super) peak: f64,
    storage: DType,
}

impl Values {
    /// Collects them from runs of `x`; `None` if there are too many, or one is not finite.
    pub(super) fn of(
        x: &Floats,
        storage: DType,
        runs: impl Iterator<Item = (usize, usize)>,
    ) -> Option<Values> {
        let mut piece = [0.0; MOST];
        let mut seen: Option<Table> = None;
        let mut sorted = Vec::new();
        for (start, len) in runs {
            for at in (0..len).step_by(MOST) {
                let piece = &mut piece[..MOST.min(len - at)];
                x.read_f64(start + at, piece);
                if !piece.iter().all(|x| x.is_finite()) {
                    return None;
                }
                // A block this small needs no table: sorting it finds out.
                if at == 0 && len <= MOST && sorted.is_empty() && seen.is_none() {
                    sorted.extend_from_slice(piece);
                    continue;
                }
                let table = seen.get_or_insert_with(Table::new);
                if !sorted.drain(..).chain(piece.iter().copied()).all(|x| table.insert(x)) {
                    return None;
                }
            }
        }
        if let Some(table) = seen {
            sorted = table.values;
        }
        sorted.iter_mut().for_each(|x| *x += 0.0); // both zeros are one value
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.dedup();
        let peak = sorted.iter().fold(0.0f64, |m, x| if x.abs() > m.abs() { *x } else { m });
        Some(Values { sorted, largest: peak.abs(), peak, storage })
    }

    /// How far a stored value may be from what was to be stored.
    pub(super) fn slack(&self, x: f64) -> f64 {
        match self.storage {
            // Decoding takes two or three operations in f32, on numbers as large as the largest.
            DType::F32 | DType::F64 => 2.0 * ulp(self.largest, DType::F32),
            narrow => ulp(x, narrow) / 2.0 + 2.0 * ulp(self.largest, DType::F32),
        }
    }
}

/// Distinct numbers, up to [`MOST`].
struct Table {
    slots: Vec<u64>,
    values: Vec<f64>,
}

/// No finite number has these bits.
const EMPTY: u64 = u64::MAX;

impl Table {
    fn new() -> Table {
        Table { slots: vec![EMPTY; SLOTS], values: Vec::new() }
    }

    /// Whether there was room.
    fn insert(&mut self, x: f64) -> bool {
        let bits = (x + 0.0).to_bits();
        let mut slot = (ulpscope_metrics::mix(0, bits) % SLOTS as u64) as usize;
        while self.slots[slot] != EMPTY {
            if self.slots[slot] == bits {
                return true;
            }
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] = bits;
        self.values.push(x);
        self.values.len() <= MOST
    }
}
