//! A file mapped into memory, read-only.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::WeightsError;
use crate::lost::Entry;
use crate::stamp::Stamp;

/// A memory-mapped file that knows how long it was.
pub(crate) struct Map {
    file: File,
    stamp: Stamp,
    /// Dropped before the map that it tells of.
    entry: Entry,
    map: Mmap,
}

impl Map {
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |e| WeightsError::io(path, e);
        let file = File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?;
        if found.is_dir() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        // SAFETY: the map is private to this value, read-only, and dropped before `file`. What Rust cannot know is
        // whether another process truncates the file, upon which reading the lost pages raises SIGBUS (see `lost`), or
        // overwrites it, upon which numbers change under us. No mapping can exclude that; `bytes` looks at the length
        // again before each tensor and `Checkpoint::unchanged` at the rest, so that a file being rewritten is reported.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Map { file, stamp: Stamp::of(path, &found), entry: Entry::of(&map), map })
    }

    pub(crate) fn path(&self) -> &Path {
        self.stamp.path()
    }

    /// The file as it was when it was opened.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// Checks that the file is as it was, and that all of it that was read could be.
    pub(crate) fn check(&self) -> Result<(), WeightsError> {
        self.stamp.check()?;
        if self.entry.lost() {
            let what = "could not be read everywhere (it was cut short, or its disk failed)";
            return Err(WeightsError::Replaced { path: self.path().to_owned(), what });
        }
        Ok(())
    }

    /// The whole file.
    pub(crate) fn all(&self) -> &[u8] {
        &self.map
    }

    /// A part of the file that a header vouched for.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Result<&[u8], WeightsError> {
        let opened = self.map.len() as u64;
        let now = self.file.metadata().map_err(|e| WeightsError::io(self.path(), e))?.len();
        if now != opened || range.end > self.map.len() || range.start > range.end {
            return Err(WeightsError::Changed { path: self.path().to_owned(), opened, now });
        }
        Ok(&self.map[range])
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, WeightsError> {
    let mut text = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut text)).map_err(|e| WeightsError::io(path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| WeightsError::Json { path: path.to_owned(), reason: e.to_string() })
}
