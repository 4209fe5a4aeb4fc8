//! Fetches single files with `hf-hub`, and lets into the cache only what is whole.
//!
//! `hf-hub` 0.5 would write into the cache by itself, but it compares neither size nor hash with what was
//! announced, so a connection that ends early can leave a short file under its final name. It therefore
//! works in a staging folder on the same file system; a file is renamed into the cache once it has been
//! checked. A download that broke off stays in staging and is continued, in this run once and in later ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiError, Metadata};
use hf_hub::{Repo, RepoType};

use super::cache::RepoCache;
use super::listing::{self, Listing};
use super::watch::{Lost, watched};
use crate::source::{Options, Progress, SourceError, sha256_of_file};

/// The pause before a broken transfer is taken up again.
const PAUSE: Duration = Duration::from_millis(300);

/// The download of one commit.
pub(super) struct Transfer<'a> {
    api: Api,
    pinned: Repo,
    repo: &'a str,
    listing: &'a Listing,
    cache: &'a RepoCache,
    options: &'a Options,
}

/// What one attempt ended with, where that is not a final error.
enum Attempt {
    Whole(PathBuf),
    /// The connection broke; what has arrived is kept.
    Cut(String),
    /// The content is not what was announced; it is deleted.
    Wrong(SourceError),
}

impl<'a> Transfer<'a> {
    /// Prepares to fetch files of the commit in `listing`.
    pub(super) fn new(
        repo: &'a str,
        listing: &'a Listing,
        cache: &'a RepoCache,
        options: &'a Options,
    ) -> Result<Self, SourceError> {
        let staging = cache.staging();
        fs::create_dir_all(&staging).map_err(|e| SourceError::io("create the folder", &staging, e))?;
        // `hf-hub` asserts that its paths are alike, and links relative to them.
        let staging = staging.canonicalize().map_err(|e| SourceError::io("read", &staging, e))?;
        let api = listing::client(options, &staging)?;
        // The commit rather than the branch, which may move between two files.
        let pinned = Repo::with_revision(repo.into(), RepoType::Model, listing.commit.clone());
        Ok(Self { api, pinned, repo, listing, cache, options })
    }

    /// Makes sure that `file` is in the snapshot, and returns its path there.
    pub(super) fn fetch(&mut self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, SourceError> {
        let announced = self.announced(file)?;
        let etag = announced.etag.as_str();
        let in_snapshot = self.cache.snapshot(&self.listing.commit).join(file);
        if size_of(&in_snapshot) == Some(announced.size) {
            return Ok(in_snapshot);
        }
        let blob = self.cache.blob(etag);
        if size_of(&blob) != Some(announced.size) {
            progress.start(file, Some(announced.size));
            let arrived = self.download(file, &announced, progress);
            progress.finish();
            self.move_in(&arrived?, &blob)?;
        }
        self.cache.link(&self.listing.commit, file, etag)
    }

    /// Removes the staging folder. Only after everything has been fetched, so nothing in it is of use.
    pub(super) fn clean_up(self) {
        let _ = fs::remove_dir_all(self.cache.staging());
    }

    /// Asks for size and hash before anything is transferred.
    fn announced(&self, file: &str) -> Result<Announced, SourceError> {
        let mut cut_before = false;
        loop {
            let (api, url) = (self.api.clone(), self.api.repo(self.pinned.clone()).url(file));
            match self.watch(file, &mut |_| {}, move |_| api.metadata(&url))? {
                Ok(metadata) => return self.checked(file, &metadata),
                Err(error) => match self.explained(file, error)? {
                    _ if !cut_before => cut_before = true,
                    reason => return Err(self.broken(file, reason, 0)),
                },
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn checked(&self, file: &str, metadata: &Metadata) -> Result<Announced, SourceError> {
        let bad = |reason: String| SourceError::BadAnswer {
            endpoint: self.options.shown_endpoint(),
            what: format!("{}/{file}", self.repo),
            reason: self.options.shown(&reason),
        };
        let (commit, etag) = (metadata.commit_hash(), metadata.etag());
        if commit != self.listing.commit {
            return Err(bad(format!("it belongs to commit {commit:?}, not to {}", self.listing.commit)));
        }
        // It becomes a file name, in `hf-hub` as well.
        let plain = etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !plain || etag.is_empty() || etag.len() > 128 {
            return Err(bad(format!("its etag {etag:?} is no plain hash")));
        }
        let listed = self.listing.sha256(file);
        let from_etag = (etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| etag.to_ascii_lowercase());
        if let (Some(listed), Some(from_etag)) = (&listed, &from_etag)
            && listed != from_etag
        {
            return Err(bad(format!("its etag {from_etag} is not the sha256 in the file list, {listed}")));
        }
        Ok(Announced { etag: etag.to_owned(), size: metadata.size() as u64, sha256: from_etag.or(listed) })
    }

    /// Downloads into staging: continued once where it breaks, begun anew once where a continued file is wrong.
    fn download(
        &self,
        file: &str,
        announced: &Announced,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, SourceError> {
        let part = self.staged_blob(&announced.etag).with_extension("part");
        let (mut cut_before, mut wrong_before, mut shown) = (false, false, 0);
        loop {
            if size_of(&part).is_some_and(|size| size >= announced.size) {
                remove(&part)?;
            }
            let continued = size_of(&part).is_some_and(|size| size > 0);
            match self.attempt(file, announced, &part, &mut |at| {
                if at > shown {
                    progress.advance(at - shown);
                    shown = at;
                }
            })? {
                Attempt::Whole(path) => return Ok(path),
                Attempt::Cut(_) if !cut_before => cut_before = true,
                Attempt::Cut(reason) => {
                    return Err(self.broken(file, reason, size_of(&part).unwrap_or(0)));
                }
                Attempt::Wrong(_) if continued && !wrong_before => wrong_before = true,
                Attempt::Wrong(error) => return Err(error),
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn attempt(
        &self,
        file: &str,
        announced: &Announced,
        part: &Path,
        position: &mut dyn FnMut(u64),
    ) -> Result<Attempt, SourceError> {
        // A link left behind by a run that was stopped would make `hf-hub` fail: its target has moved.
        let link = self.staged_link(file);
        let _ = fs::remove_file(&link);
        let (api, name) = (self.api.repo(self.pinned.clone()), file.to_owned());
        if let Err(error) =
            self.watch(file, position, move |ticker| api.download_with_progress(&name, ticker))?
        {
            return self.explained(file, error).map(Attempt::Cut);
        }
        let _ = fs::remove_file(&link);
        let path = self.staged_blob(&announced.etag);
        let size = size_of(&path).ok_or_else(|| SourceError::BadAnswer {
            endpoint: self.options.shown_endpoint(),
            what: format!("{}/{file}", self.repo),
            reason: "its etag changed during the download".into(),
        })?;
        // Without a Content-Length an early end looks like the end.
        if size < announced.size {
            fs::rename(&path, part).map_err(|e| SourceError::io("rename", &path, e))?;
            return Ok(Attempt::Cut(format!("it ended after {size} of {} bytes", announced.size)));
        }
        let wrong = |property, expected: String, found: String| {
            let what = format!("{}/{file}", self.repo);
            remove(&path).map(|()| Attempt::Wrong(SourceError::Corrupt { what, property, expected, found }))
        };
        if size > announced.size {
            return wrong("size", announced.size.to_string(), size.to_string());
        }
        if let Some(expected) = &announced.sha256 {
            let found = sha256_of_file(&path).map_err(|e| SourceError::io("read", &path, e))?;
            if *expected != found {
                return wrong("sha256", expected.clone(), found);
            }
        }
        Ok(Attempt::Whole(path))
    }

    /// A blob appears under its name in one step, and complete.
    fn move_in(&self, staged: &Path, blob: &Path) -> Result<(), SourceError> {
        let folder = blob.parent().unwrap_or(blob);
        fs::create_dir_all(folder).map_err(|e| SourceError::io("create the folder", folder, e))?;
        fs::rename(staged, blob).map_err(|e| SourceError::io("write", blob, e))
    }

    fn watch<T: Send + 'static>(
        &self,
        file: &str,
        position: &mut dyn FnMut(u64),
        work: impl FnOnce(super::watch::Ticker) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        watched(self.options.stall_timeout, position, work).map_err(|lost| match lost {
            Lost::Stalled => SourceError::Stalled {
                what: format!("{}/{file}", self.repo),
                waited: self.options.stall_timeout,
            },
            Lost::Failed => SourceError::BadAnswer {
                endpoint: self.options.shown_endpoint(),
                what: format!("{}/{file}", self.repo),
                reason: "hf-hub cannot work with it".into(),
            },
        })
    }

    /// The reason in words where trying again may help, and an error where it cannot.
    fn explained(&self, file: &str, error: ApiError) -> Result<String, SourceError> {
        use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let endpoint = self.options.shown_endpoint();
        let what = format!("{}/{file}", self.repo);
        let reason = self.options.shown(&error.to_string());
        Err(match error {
            ApiError::RequestError(error) => match *error {
                ureq::Error::StatusCode(status @ (401 | 403)) => SourceError::Refused {
                    endpoint,
                    repo: self.repo.into(),
                    status,
                    token_sent: self.options.token.is_some(),
                },
                ureq::Error::StatusCode(404) => SourceError::NotFound { endpoint, missing: what },
                ureq::Error::StatusCode(status) => SourceError::Status { endpoint, status, what },
                _ => return Ok(reason),
            },
            ApiError::IoError(error) => match error.kind() {
                StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem => {
                    SourceError::io("write into", &self.cache.staging(), error)
                }
                _ => return Ok(reason),
            },
            ApiError::LockAcquisition(lock) => SourceError::Busy { what, lock },
            ApiError::InvalidResume | ApiError::TooManyRetries(_) => return Ok(reason),
            _ => SourceError::BadAnswer { endpoint, what, reason },
        })
    }

    fn broken(&self, file: &str, reason: String, kept: u64) -> SourceError {
        SourceError::Broken { repo: self.repo.into(), file: file.into(), reason, kept }
    }

    fn staged(&self) -> PathBuf {
        self.cache.staging().join(self.pinned.folder_name())
    }

    fn staged_blob(&self, etag: &str) -> PathBuf {
        self.staged().join("blobs").join(etag)
    }

    fn staged_link(&self, file: &str) -> PathBuf {
        self.staged().join("snapshots").join(&self.listing.commit).join(file)
    }
}

/// What the hub says a file is.
struct Announced {
    /// The name of its blob.
    etag: String,
    /// In bytes.
    size: u64,
    /// Known for files in large-file storage.
    sha256: Option<String>,
}

fn size_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len())
}

fn remove(path: &Path) -> Result<(), SourceError> {
    fs::remove_file(path).map_err(|e| SourceError::io("delete", path, e))
}
