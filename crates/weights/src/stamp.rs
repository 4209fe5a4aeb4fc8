//! Whether a file is still the one that was opened.

use std::fmt;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::WeightsError;

/// What a file was like when it was opened.
#[derive(Clone)]
pub(crate) struct Stamp {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// Device and inode, which another file of the same name does not have.
    place: [u64; 2],
    /// When content, name or rights changed last. Unlike `modified` it can't be set to a time of
    /// one's choice.
    touched: [i64; 2],
}

impl Stamp {
    /// Of a file that has just been opened.
    pub(crate) fn of(path: &Path, found: &Metadata) -> Self {
        let (place, touched) = inode(found);
        Stamp { path: path.to_owned(), length: found.len(), modified: found.modified().ok(), place, touched }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, WeightsError> {
        let found = std::fs::metadata(path).map_err(|e| WeightsError::io(path, e))?;
        Ok(Stamp::of(path, &found))
    }

    /// Of bytes that a test made up.
    #[cfg(test)]
    pub(crate) fn held(path: &Path, bytes: &[u8]) -> Self {
        let (length, modified) = (bytes.len() as u64, None);
        Stamp { path: path.to_owned(), length, modified, place: [0; 2], touched: [0; 2] }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode.
    pub(crate) fn place(&self) -> [u64; 2] {
        self.place
    }

    /// When anything about the file changed last, as far as the system tells that.
    pub(crate) fn changed(&self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.touched[0]).ok().filter(|&seconds| seconds > 0)?;
        let touched = SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(self.touched[1]).ok()?);
        Some(touched.max(self.modified?))
    }

    /// Looks at the file again. New rights or a further hard link are no change.
    pub(crate) fn check(&self) -> Result<(), WeightsError> {
        let path = || self.path.clone();
        let Ok(found) = std::fs::metadata(&self.path) else {
            return Err(WeightsError::Replaced { path: path(), what: "was taken away" });
        };
        let (place, _) = inode(&found);
        if place != self.place {
            return Err(WeightsError::Replaced { path: path(), what: "was replaced by another file" });
        }
        if found.len() != self.length {
            return Err(WeightsError::Changed { path: path(), opened: self.length, now: found.len() });
        }
        if found.modified().ok() != self.modified {
            return Err(WeightsError::Replaced { path: path(), what: "was written to" });
        }
        Ok(())
    }
}

/// Everything that is known of the file. Two files of one text have the same content.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { path, length, modified, place, touched } = self;
        write!(f, "{path:?} {length} bytes, {modified:?}, {place:?}, {touched:?}")
    }
}

#[cfg(unix)]
fn inode(found: &Metadata) -> ([u64; 2], [i64; 2]) {
    use std::os::unix::fs::MetadataExt;
    ([found.dev(), found.ino()], [found.ctime(), found.ctime_nsec()])
}

/// Elsewhere length and time of change have to do.
#[cfg(not(unix))]
fn inode(_found: &Metadata) -> ([u64; 2], [i64; 2]) {
    ([0; 2], [0; 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_happens_to_a_file_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        fs::write(&path, "12345678").unwrap();
        let stamp = Stamp::read(&path).unwrap();
        stamp.check().unwrap();
        let told = |stamp: &Stamp| stamp.check().unwrap_err().to_string();

        fs::write(&path, "1234").unwrap();
        let message = told(&stamp);
        assert!(message.contains("8 bytes long when opened and is 4 now"), "{message}");

        fs::write(&path, "87654321").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(told(&stamp).contains("was written to"), "{}", told(&stamp));

        fs::remove_file(&path).unwrap();
        assert!(told(&stamp).contains("was taken away"), "{}", told(&stamp));
    }

    #[cfg(unix)]
    #[test]
    fn another_file_of_the_same_name_length_and_time_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (path, text) in [(&path, "one"), (&other, "two")] {
            fs::write(path, text).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        let stamp = Stamp::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(&path, folder.path().join("c")).unwrap();
        stamp.check().unwrap();
        assert_ne!(stamp.to_string(), Stamp::read(&path).unwrap().to_string(), "rights leave a trace");
        fs::rename(&other, &path).unwrap();
        let message = stamp.check().unwrap_err().to_string();
        assert!(message.contains("replaced by another file"), "{message}");
    }
}
