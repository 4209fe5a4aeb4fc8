//! A file mapped into memory, read-only.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::{Advice, UncheckedAdvice};
use ulpscope_record::file;
use ulpscope_record::kind::{Wanted, told};
use ulpscope_record::text::shown;

use crate::WeightsError;
use crate::lost::Entry;
use crate::stamp::Stamp;

/// A memory-mapped file that knows how long it was.
pub(crate) struct Map {
    stamp: Stamp,
    content: Content,
}

enum Content {
    Mapped {
        /// Dropped before the map that it tells of.
        entry: Entry,
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
        let file = open(path)?;
        let found = file.metadata().map_err(io)?;
        // SAFETY: the map is private to this value, read-only, and dropped before `file`. What Rust
        // cannot know is whether another process truncates the file, upon which reading the lost
        // pages raises SIGBUS (see `lost`), or overwrites it, upon which numbers change under us.
        // No mapping can exclude that; `bytes` looks at the length again before each tensor and
        // `Checkpoint::unchanged` at the rest, so that a file being rewritten is reported.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (stamp, entry) = (Stamp::of(path, &found), Entry::of(&map));
        Ok(Map { stamp, content: Content::Mapped { entry, map, file } })
    }

    #[cfg(test)]
    pub(crate) fn held(path: &Path, bytes: &[u8]) -> Self {
        Map { stamp: Stamp::held(path, bytes), content: Content::Held(bytes.to_vec()) }
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
        let lost = match &self.content {
            Content::Mapped { entry, .. } => entry.lost(),
            #[cfg(test)]
            Content::Held(_) => return Ok(()),
        };
        self.stamp.check()?;
        if lost {
            let what = "could not be read everywhere (it was cut short, or its disk failed)";
            return Err(WeightsError::Replaced { path: self.path().to_owned(), what });
        }
        Ok(())
    }

    /// The whole file.
    pub(crate) fn all(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { map, .. } => map,
            #[cfg(test)]
            Content::Held(bytes) => bytes,
        }
    }

    /// Gives back the memory that a part of the file takes up. Who looks at it again has it read
    /// again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = self.mapped() {
            // SAFETY: the map is of a file and never written to, so that its pages come back with
            // what is in the file, which is what they held before, under the same reservation as in
            // `open`.
            #[allow(unsafe_code)]
            let released =
                unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
            // Where the system does not do that, memory is all that is lost.
            _ = released;
        }
    }

    /// Has the system read a part of the file before it is needed.
    pub(crate) fn ask_for(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = self.mapped() {
            _ = map.advise_range(Advice::WillNeed, range.start, range.len());
        }
    }

    #[cfg(unix)]
    fn mapped(&self) -> Option<&Mmap> {
        match &self.content {
            Content::Mapped { map, .. } => Some(map),
            #[cfg(test)]
            Content::Held(_) => None,
        }
    }

    /// A part of the file that a header vouched for.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Result<&[u8], WeightsError> {
        let all = self.all();
        let opened = all.len() as u64;
        let now = match &self.content {
            Content::Mapped { file, .. } => {
                file.metadata().map_err(|e| WeightsError::io(self.path(), e))?.len()
            }
            #[cfg(test)]
            Content::Held(_) => opened,
        };
        if now != opened || range.end > all.len() || range.start > range.end {
            return Err(WeightsError::Changed { path: self.path().to_owned(), opened, now });
        }
        Ok(&all[range])
    }
}

/// Opens a file of a checkpoint. It may be a link, as in the hub's cache, where each leads to a
/// blob outside the folder.
pub(crate) fn open(path: &Path) -> Result<File, WeightsError> {
    file::open(path).map_err(|e| WeightsError::io(path, e))
}

/// The largest JSON file that is read, in bytes: ten times the largest tokenizer.json there is.
const LONGEST: u64 = 256 << 20;

/// Reads the text of a JSON file.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let mut text = Vec::new();
    open(path)?.take(LONGEST + 1).read_to_end(&mut text).map_err(|e| WeightsError::io(path, e))?;
    if text.len() as u64 > LONGEST {
        let reason = format!("it has more than {LONGEST} bytes, which no such file has");
        return Err(WeightsError::Json { path: path.to_owned(), reason });
    }
    Ok(text)
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value, WeightsError> {
    parse_json(path, &read_text(path)?)
}

/// What is wrong with a text that is no JSON.
pub(crate) fn explain_json(text: &[u8], error: &serde_json::Error) -> String {
    told(text, Wanted::Json, || shown(&error.to_string()))
}

/// Reads the text of the JSON file at `path`.
pub(crate) fn parse_json(path: &Path, text: &[u8]) -> Result<serde_json::Value, WeightsError> {
    serde_json::from_slice(text)
        .map_err(|e| WeightsError::Json { path: path.to_owned(), reason: explain_json(text, &e) })
}
