//! The sha256 of a checkpoint's files, remembered from run to run while the file is the same.
//!
//! What a large file's hash takes is more than everything else of a short comparison. As in git's
//! index, a hash is believed for as long as device, inode, length and both times of change are
//! those that it was taken at. A file that changed within the last two seconds is not remembered,
//! since it could change once more without a trace.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use ulpscope_record::file::replace;

use crate::WeightsError;
use crate::map::Map;
use crate::source::hex;
use crate::stamp::Stamp;

/// Bytes that are hashed at a time.
const PART: usize = 4 << 20;
/// Files of fewer bytes are hashed as fast as a note about them is read.
const LEAST: usize = 8 << 20;
/// Longer than the steps of any file system's clock.
const SETTLED: Duration = Duration::from_secs(2);

/// The sha256 of a mapped file, in lower-case hexadecimal; `None` if it is no longer wanted.
/// `notes` is the folder in which hashes are remembered, if they are.
pub(crate) fn sha256_of_map(
    map: &Map,
    notes: Option<&Path>,
    wanted: impl Fn() -> bool,
) -> Result<Option<String>, WeightsError> {
    let len = map.all().len();
    let note = notes.filter(|_| len >= LEAST).and_then(|notes| Note::of(map.stamp(), notes));
    if let Some(known) = note.as_ref().and_then(Note::read) {
        return Ok(Some(known));
    }
    let mut hasher = Sha256::new();
    for start in (0..len).step_by(PART) {
        if !wanted() {
            return Ok(None);
        }
        let [end, next] = [1, 2].map(|parts| len.min(start + parts * PART));
        map.ask_for(end..next);
        hasher.update(map.bytes(start..end)?);
        map.release(start..end);
    }
    let hash = hex(&hasher.finalize());
    if let Some(note) = note {
        map.check()?;
        note.write(&hash);
    }
    Ok(Some(hash))
}

/// The sha256 that the hub's cache calls a file by, if the path leads to one that it does.
pub(crate) fn cached_as(path: &Path) -> Option<String> {
    let target = path.canonicalize().ok()?;
    let name = target.file_name()?.to_str()?;
    let hash = name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hash && target.parent()?.ends_with("blobs")).then(|| name.to_owned())
}

/// What is remembered of one file.
struct Note {
    path: PathBuf,
    /// All that is known of the file, on a line.
    stamp: String,
}

impl Note {
    /// `None` for a file that is not to be remembered.
    fn of(stamp: &Stamp, notes: &Path) -> Option<Self> {
        let [device, inode] = stamp.place();
        let before = SystemTime::now().checked_sub(SETTLED)?;
        let settled = stamp.changed().is_some_and(|changed| changed < before);
        settled
            .then(|| Note { path: notes.join(format!("{device:x}-{inode:x}")), stamp: format!("{stamp}\n") })
    }

    fn read(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let hash = text.strip_prefix(&self.stamp)?.strip_suffix('\n')?;
        let whole = hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        whole.then(|| hash.to_owned())
    }

    /// Where it can't be written, the file is hashed again next time.
    fn write(&self, hash: &str) {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let text = format!("{}{hash}\n", self.stamp);
        _ = std::fs::create_dir_all(folder).and_then(|()| replace(&self.path, text.as_bytes()));
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::{self, File};

    fn hash(path: &Path, notes: &Path) -> String {
        sha256_of_map(&Map::open(path).unwrap(), Some(notes), || true).unwrap().unwrap()
    }

    fn set_modified(path: &Path, time: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_hash_is_believed_while_the_file_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (path, notes) = (folder.path().join("a"), folder.path().join("notes"));
        let old = SystemTime::now() - Duration::from_secs(1000);
        fs::write(&path, vec![1; LEAST]).unwrap();
        set_modified(&path, old);
        let first = hash(&path, &notes);
        assert!(!notes.exists(), "it changed just now, whatever it says of itself");

        std::thread::sleep(SETTLED);
        assert_eq!(hash(&path, &notes), first);
        let note = fs::read_dir(&notes).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&note).unwrap();
        assert!(text.ends_with(&format!("\n{first}\n")), "{text}");
        // So that it shows who is believed.
        let other = "0".repeat(64);
        fs::write(&note, text.replace(&first, &other)).unwrap();
        assert_eq!(hash(&path, &notes), other);

        fs::write(&path, vec![2; LEAST]).unwrap();
        set_modified(&path, old);
        let second = hash(&path, &notes);
        assert!(second != first && second != other, "another content of the same length and time");
        for damaged in ["", "nonsense", &text[..text.len() - 5], &text.replace(&first, &first.to_uppercase())]
        {
            fs::write(&note, damaged).unwrap();
            assert_eq!(hash(&path, &notes), second, "{damaged:?}");
        }
        assert_eq!(sha256_of_map(&Map::open(&path).unwrap(), None, || false).unwrap(), None);
    }
}
