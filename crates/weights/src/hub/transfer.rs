//! Fetches single files, and lets into the cache only what is whole.
//!
//! A connection that ends early can look like the end of a file. What arrives is therefore kept in
//! a staging folder on the file system of the cache, and renamed into the cache once it has been
//! checked against the size and hash that were announced. A download that broke off stays in
//! staging and is continued, in this run once and in later ones.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::{RepoCache, own_file};
use super::listing::Listing;
use super::reach::{Unheard, unheard};
use super::request::{Answer, Client};
use super::watch::{Lost, Ticker, watched};
use ureq::http::HeaderMap;

use crate::source::{Options, Progress, SourceError, sha256_of_file};

/// The pause before a broken transfer is taken up again.
const PAUSE: Duration = Duration::from_millis(300);

/// The largest file beside the weights, in bytes: many times the largest tokenizer.
const LARGEST_SMALL: u64 = 1 << 30;

/// The download of one commit.
pub(super) struct Transfer<'a> {
    client: Client,
    staging: PathBuf,
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
        cache.folder_inside(&staging)?;
        Ok(Self { client: Client::new(options), staging, repo, listing, cache, options })
    }

    /// Makes sure that `file` is in the snapshot, and returns its path there.
    pub(super) fn fetch(&mut self, file: &str, progress: &mut dyn Progress) -> Result<PathBuf, SourceError> {
        let announced = self.announced(file)?;
        let etag = announced.etag.as_str();
        let in_snapshot = self.cache.snapshot(&self.listing.commit).join(file);
        if self.is_it(&in_snapshot, &announced)? {
            return Ok(in_snapshot);
        }
        let blob = self.cache.blob(etag);
        if !self.is_it(&blob, &announced)? {
            self.check_room(announced.size, file)?;
            progress.start(file, Some(announced.size));
            let arrived = self.download(file, &announced, progress);
            progress.finish();
            self.move_in(&arrived?, &blob)?;
        }
        self.cache.link(&self.listing.commit, file, etag)
    }

    /// Whether a file of the cache is what was announced, by size and, where one is known, by hash.
    fn is_it(&self, path: &Path, announced: &Announced) -> Result<bool, SourceError> {
        if !self.cache.holds(path) || size_of(path) != Some(announced.size) {
            return Ok(false);
        }
        let Some(expected) = &announced.sha256 else { return Ok(true) };
        Ok(sha256_of_file(path).map_err(|e| SourceError::io("read", path, e))? == *expected)
    }

    /// Finds out before the first byte, not after the last that fits.
    pub(super) fn check_room(&self, bytes: u64, what: &str) -> Result<(), SourceError> {
        let here = fs::read_dir(&self.staging).into_iter().flatten().flatten();
        let kept = here.filter_map(|part| Some(part.metadata().ok()?.len())).fold(0, u64::saturating_add);
        match room(&self.staging) {
            Some(free) if bytes.saturating_sub(kept) > free => {
                Err(SourceError::NoRoom { what: what.into(), bytes, free, folder: self.staging.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Removes the staging folder. Only after everything has been fetched, so nothing in it is of
    /// use.
    pub(super) fn clean_up(self) {
        let _ = fs::remove_dir_all(&self.staging);
    }

    /// The commit rather than the branch, which may move between two files.
    fn url(&self, file: &str) -> String {
        format!("{}/{}/resolve/{}/{file}", self.options.endpoint, self.repo, self.listing.commit)
    }

    /// Asks for size and hash before anything is transferred.
    fn announced(&self, file: &str) -> Result<Announced, SourceError> {
        let mut cut_before = false;
        loop {
            let (client, url) = (self.client.clone(), self.url(file));
            match self.watch(file, &mut |_| {}, move |_| client.get(&url, Some("bytes=0-0")))? {
                Ok(answer) => return self.checked(file, &answer),
                Err(error) => match self.explained(file, error)? {
                    _ if !cut_before => cut_before = true,
                    reason => return Err(self.broken(file, reason, 0)),
                },
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn checked(&self, file: &str, answer: &Answer) -> Result<Announced, SourceError> {
        let Answer { response, hub } = answer;
        self.refused(file, response.status().as_u16())?;
        let bad = |reason: String| SourceError::BadAnswer {
            endpoint: self.options.shown_endpoint(),
            what: format!("{}/{file}", self.repo),
            reason: self.options.shown(&reason),
        };
        let text = |headers: &HeaderMap, name: &str| -> Result<String, SourceError> {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned).ok_or_else(|| bad(format!("it has no readable header {name}")))
        };
        let commit = text(hub, "x-repo-commit")?;
        if commit != self.listing.commit {
            return Err(bad(format!("it belongs to commit {commit:?}, not to {}", self.listing.commit)));
        }
        // Of a file that is kept elsewhere the hub gives the hash under another name than that of
        // its own answer.
        let linked = hub.contains_key("x-linked-etag");
        let etag = text(hub, if linked { "x-linked-etag" } else { "etag" })?.replace('"', "");
        let range = text(response.headers(), "content-range")?;
        let size = range.rsplit('/').next().and_then(|size| size.parse::<u64>().ok());
        let size = size.ok_or_else(|| bad(format!("its content-range {range:?} gives no size")))?;
        if size > LARGEST_SMALL && !file.ends_with(".safetensors") {
            return Err(bad(format!("it is announced with {size} bytes, which no such file has")));
        }
        // It becomes a file name.
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
        Ok(Announced { etag, size, sha256: from_etag.or(listed) })
    }

    /// Downloads into staging: continued once where it breaks, begun anew once where a continued
    /// file is wrong.
    fn download(
        &self,
        file: &str,
        announced: &Announced,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, SourceError> {
        let part = self.staging.join(format!("{}.part", announced.etag));
        let (mut cut_before, mut wrong_before, mut shown) = (false, false, 0);
        loop {
            // One that is as long as the file is whole if its hash says so.
            let longest = announced.size.saturating_add(u64::from(announced.sha256.is_some()));
            if part.is_symlink() || size_of(&part).is_some_and(|size| size >= longest || !ours_alone(&part)) {
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
        if size_of(part).unwrap_or(0) < announced.size {
            let (client, url) = (self.client.clone(), self.url(file));
            let to = (part.to_owned(), announced.size);
            match self.watch(file, position, move |ticker| transfer(&client, &url, &to, ticker))? {
                Ok(()) => {}
                Err(Ended::Http(error)) => return self.explained(file, error).map(Attempt::Cut),
                Err(Ended::Status(status)) => {
                    self.refused(file, status)?;
                    return Ok(Attempt::Cut(format!("HTTP {status} for a part of it")));
                }
                Err(Ended::Read(error)) => return Ok(Attempt::Cut(self.options.shown(&error.to_string()))),
                Err(Ended::Write(error)) => return Err(SourceError::io("write", part, error)),
            }
        } else {
            position(announced.size);
        }
        let size = size_of(part).unwrap_or(0);
        // Without a Content-Length an early end looks like the end.
        if size < announced.size {
            return Ok(Attempt::Cut(format!("it ended after {size} of {} bytes", announced.size)));
        }
        let wrong = |property, expected: String, found: String| {
            let what = format!("{}/{file}", self.repo);
            remove(part).map(|()| Attempt::Wrong(SourceError::Corrupt { what, property, expected, found }))
        };
        if size > announced.size {
            return wrong("size", announced.size.to_string(), size.to_string());
        }
        if let Some(expected) = &announced.sha256 {
            let found = sha256_of_file(part).map_err(|e| SourceError::io("read", part, e))?;
            if *expected != found {
                return wrong("sha256", expected.clone(), found);
            }
        }
        Ok(Attempt::Whole(part.to_owned()))
    }

    /// A blob appears under its name in one step, and complete.
    fn move_in(&self, staged: &Path, blob: &Path) -> Result<(), SourceError> {
        self.cache.folder_inside(blob.parent().unwrap_or(blob))?;
        fs::rename(staged, blob).map_err(|e| SourceError::io("write", blob, e))
    }

    fn watch<T: Send + 'static>(
        &self,
        file: &str,
        position: &mut dyn FnMut(u64),
        work: impl FnOnce(Ticker) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        watched(self.options.stall_timeout, position, work).map_err(|lost| match lost {
            Lost::Stalled => SourceError::Stalled {
                what: format!("{}/{file}", self.repo),
                waited: self.options.stall_timeout,
            },
            Lost::Failed => SourceError::BadAnswer {
                endpoint: self.options.shown_endpoint(),
                what: format!("{}/{file}", self.repo),
                reason: "it cannot be worked with".into(),
            },
        })
    }

    /// The reason in words: trying again may help.
    fn explained(&self, file: &str, error: ureq::Error) -> Result<String, SourceError> {
        let what = format!("{}/{file}", self.repo);
        match unheard(error, self.options) {
            Unheard::Unreachable(reason) => Ok(reason),
            Unheard::Stalled => Err(SourceError::Stalled { what, waited: self.options.stall_timeout }),
            Unheard::Nonsense(reason) => {
                Err(SourceError::BadAnswer { endpoint: self.options.shown_endpoint(), what, reason })
            }
        }
    }

    /// An error for each status that says no.
    fn refused(&self, file: &str, status: u16) -> Result<(), SourceError> {
        let endpoint = self.options.shown_endpoint();
        let what = format!("{}/{file}", self.repo);
        match status {
            // The range of a continued transfer is refused where the file has become shorter.
            200..=299 | 416 => Ok(()),
            401 | 403 => Err(SourceError::Refused {
                endpoint,
                repo: self.repo.into(),
                status,
                token_sent: self.options.token.is_some(),
            }),
            404 => Err(SourceError::NotFound { endpoint, missing: what }),
            _ => Err(SourceError::Status { endpoint, status, what }),
        }
    }

    fn broken(&self, file: &str, reason: String, kept: u64) -> SourceError {
        SourceError::Broken { repo: self.repo.into(), file: file.into(), reason, kept }
    }
}

/// How a transfer ended, if not well.
enum Ended {
    /// There was no answer.
    Http(ureq::Error),
    /// The answer was not the file.
    Status(u16),
    /// The answer broke off.
    Read(std::io::Error),
    /// It could not be kept.
    Write(std::io::Error),
}

/// Fetches what of a file is not yet in `part`, and appends it: a byte more than was announced, at
/// most, which tells whoever looks at it that there would be more.
fn transfer(
    client: &Client,
    url: &str,
    (part, size): &(PathBuf, u64),
    mut ticker: Ticker,
) -> Result<(), Ended> {
    let mut file = own_file().open(part).map_err(Ended::Write)?;
    let mut start = file.metadata().map_err(Ended::Write)?.len();
    let answer = client.get(url, Some(&format!("bytes={start}-"))).map_err(Ended::Http)?;
    let status = answer.response.status().as_u16();
    match status {
        206 if first_byte(&answer) != Some(start) => {
            return Err(Ended::Read(std::io::Error::other("another part of it was sent than was asked for")));
        }
        206 => ticker.advance(start),
        // The whole file, whatever was asked for.
        200 => {
            file.set_len(0).map_err(Ended::Write)?;
            start = 0;
        }
        _ => return Err(Ended::Status(status)),
    }
    let most = size.saturating_sub(start).saturating_add(1);
    let mut body = answer.response.into_body().into_reader().take(most);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Ended::Read(error)),
        };
        // Before it is written: who waits no longer may have begun anew.
        ticker.advance(read as u64);
        file.write_all(&buffer[..read]).map_err(Ended::Write)?;
    }
    // A name in the cache is only given to what is on the disk.
    file.sync_all().map_err(Ended::Write)
}

/// Where the part that an answer holds begins.
fn first_byte(answer: &Answer) -> Option<u64> {
    let range = answer.response.headers().get("content-range")?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
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

/// What the file system of a folder has left for us, in bytes, where it says so.
fn room(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        _ = folder;
        None
    }
}

/// Whether no other name leads to a file, through which somebody else's could be written to.
fn ours_alone(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(path).is_ok_and(|found| found.nlink() == 1)
    }
    #[cfg(not(unix))]
    {
        _ = path;
        true
    }
}

fn size_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|m| m.len())
}

fn remove(path: &Path) -> Result<(), SourceError> {
    fs::remove_file(path).map_err(|e| SourceError::io("delete", path, e))
}
