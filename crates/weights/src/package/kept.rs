//! A file that was once verified, and a note beside it that says so.
//!
//! The note spares hashing the file on every run. It holds while size and time of change are as
//! they were when the hash was taken; otherwise the file is hashed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::source::{SourceError, sha256_of_file};

fn note(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// The line the note holds while it is true: hash, length in bytes, time of change in nanoseconds.
fn line(path: &Path, sha256: &str) -> std::io::Result<String> {
    let metadata = fs::metadata(path)?;
    let changed = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
    Ok(format!("{sha256} {} {changed}\n", metadata.len()))
}

/// Whether `path` is there with the wanted content.
pub(super) fn is_kept(path: &Path, sha256: &str) -> Result<bool, SourceError> {
    if !path.is_file() {
        return Ok(false);
    }
    let read = |error| SourceError::io("read", path, error);
    let wanted = line(path, sha256).map_err(read)?;
    if fs::read_to_string(note(path)).is_ok_and(|found| found == wanted) {
        return Ok(true);
    }
    if sha256_of_file(path).map_err(read)? != sha256 {
        return Ok(false);
    }
    // A cache that cannot be written can still be read.
    let _ = fs::write(note(path), wanted);
    Ok(true)
}

/// Gives a verified file its final name, in one step, and leaves the note.
pub(super) fn keep(whole: &Path, path: &Path, sha256: &str) -> Result<(), SourceError> {
    fs::rename(whole, path).map_err(|e| SourceError::io("write", path, e))?;
    let wanted = line(path, sha256).map_err(|e| SourceError::io("read", path, e))?;
    let _ = fs::write(note(path), wanted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_believed_only_while_the_file_is_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let (from, path) = (folder.path().join("a"), folder.path().join("b.gguf"));
        fs::write(&from, "content").unwrap();
        let right = sha256_of_file(&from).unwrap();
        keep(&from, &path, &right).unwrap();
        assert!(is_kept(&path, &right).unwrap());
        assert!(!is_kept(&path, &"0".repeat(64)).unwrap());
        fs::write(&path, "contenT").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        assert!(!is_kept(&path, &right).unwrap());
        fs::write(&path, "content").unwrap();
        fs::remove_file(note(&path)).unwrap();
        assert!(is_kept(&path, &right).unwrap());
        assert!(note(&path).is_file());
    }
}
