//! What processes that were killed have left in a folder: temporary files and folders of ours.
//!
//! Files are locked while they are written, folders while a run goes on in the folder that they lie
//! in; the system gives up the locks of the dead.

use std::fs::{self, File, TryLockError};
use std::path::Path;

/// How our temporary files and folders begin. Six letters and digits follow.
pub(super) const PREFIX: &str = ".ulpscope-";

/// A folder's lock.
pub(super) enum Lock {
    Held(File),
    Taken,
    /// There are no locks here.
    None,
}

/// Locks a folder itself, so that no further file is left anywhere.
pub(super) fn lock(folder: &Path) -> Lock {
    let Ok(file) = File::open(folder) else { return Lock::None };
    match file.try_lock() {
        Ok(()) => Lock::Held(file),
        Err(TryLockError::WouldBlock) => Lock::Taken,
        Err(TryLockError::Error(_)) => Lock::None,
    }
}

/// Removes what the dead have left in a folder that a file is about to be written into.
pub(crate) fn sweep(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let lock = lock(folder);
    remove(folder, matches!(lock, Lock::Held(_)));
}

/// `ours`: whether no run goes on in this folder but our own. What can't be removed stays.
pub(super) fn remove(folder: &Path, ours: bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if !random.is_some_and(|r| r.len() == 6 && r.bytes().all(|b| b.is_ascii_alphanumeric())) {
            continue;
        }
        // Of the entry itself: links are followed nowhere.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && ours {
            _ = fs::remove_dir_all(entry.path());
        } else if kind.is_file() && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_what_is_ours_and_dead_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".ulpscope-aB3dE6", "mine", ".ulpscope-notes", ".ulpscope-abc"] {
            fs::write(at(name), "x").unwrap();
        }
        fs::write(at(".ulpscope-living"), "x").unwrap();
        let living = File::open(at(".ulpscope-living")).unwrap();
        living.try_lock().unwrap();
        fs::create_dir_all(at(".ulpscope-a1b2c3/prompt-1")).unwrap();
        fs::create_dir_all(at(".ulpscope-partial")).unwrap();
        std::os::unix::fs::symlink(at("mine"), at(".ulpscope-link00")).unwrap();
        let names = || {
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let run = File::open(folder.path()).unwrap();
        run.try_lock().unwrap();
        sweep(folder.path());
        let rest = [".ulpscope-abc", ".ulpscope-link00", ".ulpscope-living", ".ulpscope-partial", "mine"];
        // `notes` has five letters.
        let rest: Vec<&str> = rest.into_iter().chain([".ulpscope-notes", ".ulpscope-a1b2c3"]).collect();
        let mut expected = rest.clone();
        expected.sort_unstable();
        assert_eq!(names(), expected, "another run goes on here: its folder stays");
        drop((run, living));
        sweep(folder.path());
        expected.retain(|name| ![".ulpscope-a1b2c3", ".ulpscope-living"].contains(name));
        assert_eq!(names(), expected);
    }
}
