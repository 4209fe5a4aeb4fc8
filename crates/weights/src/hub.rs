//! Snapshots of repositories on a Hugging Face hub: first from the cache, then from the hub.
//!
//! The cache is the one all Hugging Face tools share, in their layout. A complete copy in it is
//! used as it is, without asking whether the branch has moved since: a comparison should not change
//! under its author because somebody pushed. Naming another revision fetches that one.
//!
//! [`cache`] reads and extends that layout, and needs no network. [`listing`] asks the hub which
//! commit a revision stands for and which files it has; [`transfer`] fetches one file, by way of
//! [`request`], which shows the token to nobody but the hub.

mod cache;
#[cfg(feature = "hub")]
mod listing;
#[cfg(feature = "hub")]
mod reach;
#[cfg(feature = "hub")]
mod request;
#[cfg(feature = "hub")]
mod transfer;
#[cfg(feature = "hub")]
mod watch;

use std::path::PathBuf;

use crate::source::{ModelRef, Options, Progress, SourceError};
use cache::{Lookup, RepoCache};

/// The branch meant when none is named.
const DEFAULT_REVISION: &str = "main";

/// A folder with the files of one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The folder that holds `config.json`.
    pub(crate) path: PathBuf,
    /// The commit, 40 hexadecimal digits.
    pub(crate) commit: String,
}

/// Gives the snapshot of `repo` at `revision`, from the cache or, where that is allowed, from the
/// hub.
pub(crate) fn snapshot(
    repo: &str,
    revision: Option<&str>,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Snapshot, SourceError> {
    // Both become parts of paths, and a `ModelRef` can be built without being parsed.
    let revision_name = revision.unwrap_or(DEFAULT_REVISION);
    crate::source::check_hub_name(repo, revision_name).map_err(|reason| SourceError::BadReference {
        text: ModelRef::Hub { repo: repo.into(), revision: revision.map(Into::into) }.to_string(),
        reason,
    })?;
    let folder = options
        .cache
        .as_ref()
        .ok_or(SourceError::NoCacheFolder { what: "hub models", variable: "HF_HOME" })?;
    let cache = RepoCache::new(folder, repo);
    let (looked_at, without_tokenizer) = match cache.look_up(revision_name) {
        Lookup::Complete(snapshot) => return Ok(snapshot),
        Lookup::WithoutTokenizer(snapshot) => (snapshot.path.clone(), Some(snapshot)),
        Lookup::Incomplete { looked_at } => (looked_at, None),
    };
    let why = if options.offline {
        Some("the network is switched off (--offline)")
    } else if options.hub_offline {
        Some("HF_HUB_OFFLINE is set")
    } else if cfg!(not(feature = "hub")) {
        Some("this build cannot download (feature `hub` is off)")
    } else {
        None
    };
    let fetched = match why {
        Some(why) => {
            Err(SourceError::NotCached { repo: repo.into(), revision: revision_name.into(), looked_at, why })
        }
        None => download(repo, revision_name, &cache, options, progress),
    };
    // Weights without a tokenizer still run on token ids, so they beat an error.
    match (fetched, without_tokenizer) {
        (Err(_), Some(snapshot)) => Ok(snapshot),
        (fetched, _) => fetched,
    }
}

#[cfg(not(feature = "hub"))]
fn download(
    _: &str,
    _: &str,
    _: &RepoCache,
    _: &Options,
    _: &mut dyn Progress,
) -> Result<Snapshot, SourceError> {
    unreachable!("`snapshot` refuses before it comes here")
}

#[cfg(feature = "hub")]
fn download(
    repo: &str,
    revision: &str,
    cache: &RepoCache,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Snapshot, SourceError> {
    reach::check(options)?;
    let listing = listing::fetch(repo, revision, options)?;
    let _lock = cache.lock(options.stall_timeout, repo)?;
    let mut transfer = transfer::Transfer::new(repo, &listing, cache, options)?;
    // First what is needed at all, so that a repository without a checkpoint costs no download.
    let weights = listing.weight_files(|index| {
        let path = transfer.fetch(index, progress)?;
        cache::shards(&path).map_err(|reason| SourceError::BadAnswer {
            endpoint: options.shown_endpoint(),
            what: format!("{repo}/{index}"),
            reason,
        })
    })?;
    let wanted: Vec<String> = listing.small_files().map(str::to_owned).chain(weights).collect();
    transfer.check_room(listing.size(wanted.iter().map(String::as_str)), repo)?;
    for file in wanted {
        transfer.fetch(&file, progress)?;
    }
    for absent in listing.absent_files() {
        cache.mark_absent(&listing.commit, absent);
    }
    // Last, so that the branch never stands for a commit whose files are not all here.
    cache.point(revision, &listing.commit)?;
    transfer.clean_up();
    Ok(Snapshot { path: cache.snapshot(&listing.commit), commit: listing.commit })
}
