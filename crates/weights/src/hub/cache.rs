//! The cache on disk that all Hugging Face tools share.
//!
//! ```text
//! models--org--name/
//!   refs/main                    the commit that the branch stood for when it was last fetched
//!   snapshots/COMMIT/config.json a link to the blob
//!   blobs/ETAG                   the content
//!   .no_exist/COMMIT/FILE        an empty file: the hub was asked, and this commit has no FILE
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Snapshot;
use crate::source::{SourceError, unsafe_name};

/// The folder of one repository in the cache.
#[derive(Debug)]
pub(super) struct RepoCache {
    root: PathBuf,
    name: String,
}

/// What the cache has of a revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Everything that is needed.
    Complete(Snapshot),
    /// The weights and the configuration, and no word on whether the commit has a tokenizer.json.
    WithoutTokenizer(Snapshot),
    /// Too little. `looked_at` is the folder or reference that would have been it.
    Incomplete { looked_at: PathBuf },
}

impl RepoCache {
    /// `root` is the folder that holds all repositories, `repo` a checked `org/name`.
    pub(super) fn new(root: &Path, repo: &str) -> Self {
        Self { root: root.to_path_buf(), name: format!("models--{}", repo.replace('/', "--")) }
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// Where the files of a commit are.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    /// Looks for a revision without asking the hub.
    pub(super) fn look_up(&self, revision: &str) -> Lookup {
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            let reference = self.folder().join("refs").join(revision);
            match fs::read_to_string(&reference) {
                Ok(text) if is_commit(text.trim()) => text.trim().to_owned(),
                _ => return Lookup::Incomplete { looked_at: reference },
            }
        };
        let path = self.snapshot(&commit);
        let has = |file: &str| self.holds(&path.join(file));
        let sharded = || {
            shards(&path.join("model.safetensors.index.json"))
                .is_ok_and(|files| files.iter().all(|file| has(file)))
        };
        if !has("config.json") || !(has("model.safetensors") || sharded()) {
            return Lookup::Incomplete { looked_at: path };
        }
        let settled = has("tokenizer.json") || self.absent(&commit, "tokenizer.json").is_file();
        let snapshot = Snapshot { path, commit };
        if settled { Lookup::Complete(snapshot) } else { Lookup::WithoutTokenizer(snapshot) }
    }

    /// Whether a file is there and not a link that leads out of the cache.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let inside = || path.canonicalize().ok()?.starts_with(self.root.canonicalize().ok()?).then_some(());
        path.is_file() && inside().is_some()
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.folder().join(".no_exist").join(commit).join(file)
    }
}

#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only a download extends the cache"))]
impl RepoCache {
    /// Where the content with an etag is.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    /// Where unfinished downloads wait, on the file system of the cache so that they can be renamed
    /// into it. Other tools look only at `refs`, `snapshots` and `blobs`, and remove this along
    /// with the repository.
    pub(super) fn staging(&self) -> PathBuf {
        self.folder().join("ulpscope-partial")
    }

    /// Keeps other processes of ours out of this repository, waiting up to `patience` for one that
    /// is there.
    pub(super) fn lock(&self, patience: Duration, repo: &str) -> Result<File, SourceError> {
        let folder = self.root.join(".locks").join(&self.name);
        self.folder_inside(&folder)?;
        let path = folder.join("ulpscope.lock");
        let file = own_file().open(&path).map_err(|e| SourceError::io("create", &path, e))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if started.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(SourceError::Busy { what: repo.into(), lock: path });
                }
                // Some network file systems have no locks; two processes then do the same work
                // twice, and the renames still keep what is in the cache whole.
                Err(TryLockError::Error(_)) => return Ok(file),
            }
        }
    }

    /// Makes `snapshots/COMMIT/FILE` lead to the blob, replacing what may be there. Returns its
    /// path.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf, SourceError> {
        let path = self.snapshot(commit).join(file);
        let folder = path.parent().unwrap_or(&path);
        self.folder_inside(folder)?;
        // One `..` for `snapshots`, one for the commit, one for each folder inside the repository.
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        let beside = folder.join(format!(".{}.{etag}", std::process::id()));
        let _ = fs::remove_file(&beside);
        symlink_or_copy(&target, &self.blob(etag), &beside)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|e| SourceError::io("create", &path, e))?;
        Ok(path)
    }

    /// Makes a branch or tag stand for a commit.
    pub(super) fn point(&self, revision: &str, commit: &str) -> Result<(), SourceError> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.folder().join("refs").join(revision);
        let folder = path.parent().unwrap_or(&path);
        self.folder_inside(folder)?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut file, commit.as_bytes())?;
            file.persist(&path).map_err(|e| e.error).map(drop)
        };
        write().map_err(|e| SourceError::io("write", &path, e))
    }

    /// Notes that a commit has no such file, as Python's client does, so that nobody asks again.
    /// Only a hint: failing to write it costs a question the next time.
    pub(super) fn mark_absent(&self, commit: &str, file: &str) {
        let path = self.absent(commit, file);
        if path.parent().is_some_and(|folder| self.folder_inside(folder).is_ok()) {
            let _ = own_file().open(&path);
        }
    }

    /// Makes a folder of the cache. No link below the cache itself is followed: whoever planted it
    /// would choose what is written over.
    pub(super) fn folder_inside(&self, folder: &Path) -> Result<(), SourceError> {
        let below = folder.ancestors().take_while(|&part| part != self.root);
        if let Some(link) = below.into_iter().find(|part| part.is_symlink()) {
            let reason = "it is a link, which a download does not follow; remove it, or set HF_HUB_CACHE";
            return Err(SourceError::io("write below", link, std::io::Error::other(reason)));
        }
        fs::create_dir_all(folder).map_err(|e| SourceError::io("create the folder", folder, e))
    }
}

/// How a file of ours is opened to be written: never through a link, and never cutting off what is
/// there.
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only a download extends the cache"))]
pub(super) fn own_file() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    options
}

#[cfg(unix)]
fn symlink_or_copy(target: &Path, _content: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Links need a privilege on Windows, so a copy stands in, as in Python's client.
#[cfg(not(unix))]
fn symlink_or_copy(_target: &Path, content: &Path, link: &Path) -> std::io::Result<()> {
    fs::hard_link(content, link).or_else(|_| fs::copy(content, link).map(drop))
}

/// Whether a text is a full commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The shard files that a `model.safetensors.index.json` names, or why it names none.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    named_shards(&fs::read(index).map_err(|error| error.to_string())?)
}

/// The same from the text of the index.
pub(super) fn named_shards(text: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if files.is_empty() {
        return Err("it names no shards".into());
    }
    match files.iter().find_map(|file| unsafe_name(file).map(|reason| (file, reason))) {
        Some((file, reason)) => Err(format!("it names a shard {file:?}, which is {reason}")),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn with(files: &[(&str, &str)]) -> (tempfile::TempDir, RepoCache) {
        let root = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = root.path().join("models--org--name").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let cache = RepoCache::new(root.path(), "org/name");
        (root, cache)
    }

    fn at(file: &str) -> String {
        format!("snapshots/{COMMIT}/{file}")
    }

    #[test]
    fn a_python_made_cache_is_found_by_branch_and_by_commit() {
        let (_root, cache) = with(&[
            ("refs/main", COMMIT),
            (&at("config.json"), "{}"),
            (&at("model.safetensors"), "x"),
            (&at("tokenizer.json"), "{}"),
        ]);
        let wanted = Lookup::Complete(Snapshot { path: cache.snapshot(COMMIT), commit: COMMIT.to_owned() });
        assert_eq!(cache.look_up("main"), wanted);
        assert_eq!(cache.look_up(COMMIT), wanted);
        assert!(
            matches!(cache.look_up("dev"), Lookup::Incomplete { looked_at } if looked_at.ends_with("refs/dev"))
        );
    }

    #[test]
    fn half_a_snapshot_is_not_complete() {
        let index = r#"{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#;
        let mut files = vec![("refs/main".to_owned(), COMMIT), (at("model.safetensors.index.json"), index)];
        for next in [at("config.json"), at("m-1.safetensors"), at("m-2.safetensors")] {
            let borrowed: Vec<_> = files.iter().map(|(f, c)| (f.as_str(), *c)).collect();
            let (_root, cache) = with(&borrowed);
            assert!(
                matches!(cache.look_up("main"), Lookup::Incomplete { .. }),
                "complete without {next}: {files:?}"
            );
            files.push((next, "x"));
        }
        let borrowed: Vec<_> = files.iter().map(|(f, c)| (f.as_str(), *c)).collect();
        let (_root, cache) = with(&borrowed);
        assert!(matches!(cache.look_up("main"), Lookup::WithoutTokenizer(_)));
        cache.mark_absent(COMMIT, "tokenizer.json");
        assert!(matches!(cache.look_up("main"), Lookup::Complete(_)));
    }

    #[test]
    fn a_shard_index_cannot_lead_out_of_the_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.json");
        for (text, part) in [
            (r#"{"weight_map":{"a":"../../x"}}"#, "'..' parts"),
            (r#"{"weight_map":{}}"#, "no shards"),
            ("[", "EOF"),
            (r#"{"weight_map":{"a":1}}"#, "invalid type"),
        ] {
            fs::write(&index, text).unwrap();
            let error = shards(&index).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn linked_files_read_as_their_blob_also_in_folders() {
        let (_root, cache) = with(&[("blobs/e1", "one"), ("blobs/e2", "two")]);
        let path = cache.link(COMMIT, "sub/dir/x.json", "e1").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(cache.link(COMMIT, "sub/dir/x.json", "e2").unwrap(), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["x.json"]);
    }

    #[test]
    fn a_second_process_waits_and_then_says_so() {
        let (_root, cache) = with(&[]);
        let first = cache.lock(Duration::ZERO, "org/name").unwrap();
        let busy = cache.lock(Duration::from_millis(60), "org/name").unwrap_err();
        assert!(matches!(busy, SourceError::Busy { .. }), "{busy}");
        drop(first);
        cache.lock(Duration::ZERO, "org/name").unwrap();
    }

    #[test]
    fn branches_with_slashes_are_remembered() {
        let (root, cache) = with(&[]);
        cache.point("refs/pr/1", COMMIT).unwrap();
        cache.point(COMMIT, COMMIT).unwrap();
        let refs = root.path().join("models--org--name/refs");
        assert_eq!(fs::read_to_string(refs.join("refs/pr/1")).unwrap(), COMMIT);
        assert!(!refs.join(COMMIT).exists());
    }

    #[test]
    fn fuzz_hub_index() {
        Target::new("hub-index", env!("CARGO_MANIFEST_DIR"))
            .seed(r#"{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}"#)
            .words(&["\"weight_map\"", "../", "/", "\\\\", "\\u0000", ".safetensors", "C:"])
            .text()
            .run(|input| {
                let files = named_shards(input)?;
                for file in &files {
                    let mut parts = Path::new(file).components();
                    let inside = parts.all(|c| matches!(c, std::path::Component::Normal(_)));
                    assert!(inside && !file.contains(['\\', '\0']), "{file:?}");
                }
                Ok(format!("{} files", "x".repeat(files.len().min(3))))
            });
    }
}
