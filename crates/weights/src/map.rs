//! A file mapped into memory, read-only.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::WeightsError;

/// A memory-mapped file that knows how long it was.
pub(crate) struct Map {
    path: PathBuf,
    content: Content,
}

enum Content {
    Mapped {
        map: Mmap,
        file: File,
    },
    /// What a test made up, so that no file has to be written for it.
    #[cfg(test)]
    Held(Vec<u8>),
}

impl Map {
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |e| WeightsError::io(path, e);
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        // SAFETY: the map is private to this value, read-only, and dropped before `file`. What Rust cannot know is
        // whether another process truncates the file, upon which reading the lost pages raises SIGBUS, or
        // overwrites it, upon which numbers change under us. No mapping can exclude that; `bytes` looks at the length
        // again before each tensor, so that a file being rewritten is reported and not read.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Map { path: path.to_owned(), content: Content::Mapped { map, file } })
    }

    #[cfg(test)]
    pub(crate) fn held(path: &Path, bytes: &[u8]) -> Self {
        Map { path: path.to_owned(), content: Content::Held(bytes.to_vec()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub(crate) fn all(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { map, .. } => map,
            #[cfg(test)]
            Content::Held(bytes) => bytes,
        }
    }

    /// A part of the file that a header vouched for.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Result<&[u8], WeightsError> {
        let all = self.all();
        let opened = all.len() as u64;
        let now = match &self.content {
            Content::Mapped { file, .. } => {
                file.metadata().map_err(|e| WeightsError::io(&self.path, e))?.len()
            }
            #[cfg(test)]
            Content::Held(_) => opened,
        };
        if now != opened || range.end > all.len() || range.start > range.end {
            return Err(WeightsError::Changed { path: self.path.clone(), opened, now });
        }
        Ok(&all[range])
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, WeightsError> {
    let mut text = Vec::new();
    File::open(path).and_then(|mut f| f.read_to_end(&mut text)).map_err(|e| WeightsError::io(path, e))?;
    parse_json(path, &text)
}

/// Reads the text of the JSON file at `path`.
pub(crate) fn parse_json(path: &Path, text: &[u8]) -> Result<serde_json::Value, WeightsError> {
    serde_json::from_slice(text)
        .map_err(|e| WeightsError::Json { path: path.to_owned(), reason: e.to_string() })
}
