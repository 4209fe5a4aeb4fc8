//! What was observed of some prompts in one stage of a run: kept on disk while the run goes on, so
//! that one that is interrupted goes on from there.
//!
//! A unit is filed under a key, the text of everything that determines it. It is taken for what it
//! says only if it is whole and its key is, letter for letter, the one that is asked for; otherwise
//! it is as if it were not there.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file::{LIMIT, replace};
use crate::schema::{LogitDivergence, SiteDivergence};

/// What was observed of some prompts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Divergence by site. Prompts are counted from the unit's first.
    pub sites: Vec<SiteDivergence>,
    /// The logits of each pair that was compared.
    pub logits: Vec<Pair>,
    /// Subject, prompt and the first site that differs.
    pub first: Vec<(usize, usize, String)>,
}

/// The logits of one subject beside another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of the subject.
    pub subject: usize,
    /// Index of the subject that it is compared with.
    pub with: usize,
    /// How far apart they are.
    pub logits: LogitDivergence,
}

#[derive(Serialize)]
struct Filed<'a> {
    key: &'a str,
    unit: &'a Unit,
}

#[derive(Deserialize)]
struct Found {
    key: String,
    unit: Unit,
}

impl Unit {
    /// Reads a unit that was filed under `key`. Whatever is wrong with the file, there is none.
    pub fn read(path: &Path, key: &str) -> Option<Unit> {
        if path.metadata().ok()?.len() > LIMIT {
            return None;
        }
        let found: Found = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        (found.key == key).then_some(found.unit)
    }

    /// Files a unit under `key`: the file is whole, or not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path, key: &str) -> io::Result<()> {
        let text = serde_json::to_vec(&Filed { key, unit: self })?;
        replace(path, &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunRecord;

    fn unit() -> Unit {
        let record = RunRecord::from_json(include_str!("../tests/small.json")).unwrap();
        let logits = record.logits.into_iter().map(|logits| Pair { subject: 1, with: 0, logits }).collect();
        Unit { sites: record.sites, logits, first: vec![(1, 0, "model.rotary_emb.cos".to_owned())] }
    }

    #[test]
    fn what_is_kept_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit.json");
        let mut unit = unit();
        unit.sites[0].difference.mean_abs = f64::from_bits(0x3fb9_9999_9999_999b);
        unit.sites[0].difference.sqnr_db = f64::NEG_INFINITY;
        unit.write(&path, "key").unwrap();
        assert!(unit.logits[0].logits.corners[0].rows[1][1].is_nan(), "NaN is among what is kept");
        let back = Unit::read(&path, "key").unwrap();
        // NaN is not equal to itself; its text is.
        assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&unit).unwrap());
    }

    #[test]
    fn what_is_not_whole_or_filed_under_another_key_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit.json");
        assert_eq!(Unit::read(&path, "key"), None);
        unit().write(&path, "key").unwrap();
        assert!(Unit::read(&path, "key").is_some());
        assert_eq!(Unit::read(&path, "another key"), None);
        let whole = std::fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(97) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Unit::read(&path, "key"), None, "cut to {length} bytes");
        }
        let holes: Vec<u8> = whole.iter().enumerate().map(|(i, &b)| if i > 512 { 0 } else { b }).collect();
        std::fs::write(&path, holes).unwrap();
        assert_eq!(Unit::read(&path, "key"), None, "with a hole");
    }
}
