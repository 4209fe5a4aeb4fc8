//! What may be used to find a model: network or not, token, endpoint, folders, patience.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, without_credentials};

/// The hub that is asked unless another is named.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// How models are looked for. [`Options::from_env`] reads the variables that the Hugging Face tools
/// read; [`Options::default`] reads none, which is what tests want.
///
/// `Debug` hides the token and any credentials in the endpoint.
#[derive(Clone)]
pub struct Options {
    /// Use no network at all, neither the hub nor a package index: only what is already on this
    /// machine.
    pub offline: bool,
    /// Leave the hub alone, as `HF_HUB_OFFLINE=1` asks. A package index may still be used.
    pub hub_offline: bool,
    /// Sent to the hub as a bearer token.
    pub token: Option<String>,
    /// The hub's cache, the folder that holds `models--org--name`. `None` when no home folder is
    /// known.
    pub cache: Option<PathBuf>,
    /// Where files taken out of Python packages are kept. `None` when no home folder is known.
    pub packages: Option<PathBuf>,
    /// Where the hashes of large files are remembered. `None` when no home folder is known.
    pub hashes: Option<PathBuf>,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Requests go through a proxy named in the environment, so whether the hub's own host can be
    /// reached from here says nothing and is not tested first.
    pub proxied: bool,
    /// How long to wait for a name to resolve, and again for a connection to open.
    pub connect_timeout: Duration,
    /// A transfer during which nothing arrives for this long is given up.
    pub stall_timeout: Duration,
    /// How long fetching one package may take in all.
    pub package_timeout: Duration,
    /// The pip to run, a program and its first arguments. `None` tries `python3 -m pip`, `pip3` and
    /// `pip`.
    pub pip: Option<Vec<String>>,
    /// Further arguments for `pip download`, for example another index.
    pub pip_arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            offline: false,
            hub_offline: false,
            token: None,
            cache: None,
            packages: None,
            hashes: None,
            endpoint: DEFAULT_ENDPOINT.into(),
            proxied: false,
            connect_timeout: Duration::from_secs(2),
            stall_timeout: Duration::from_secs(20),
            package_timeout: Duration::from_secs(120),
            pip: None,
            pip_arguments: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the environment as the Hugging Face tools do.
    ///
    /// - cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`,
    ///   `XDG_CACHE_HOME/huggingface/hub`, `~/.cache/huggingface/hub`, the first that is set;
    /// - token: `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH` or `token`
    ///   beside `hub`, unless `HF_HUB_DISABLE_IMPLICIT_TOKEN` forbids to send one unasked;
    /// - `HF_ENDPOINT`, and `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`;
    /// - `XDG_CACHE_HOME` for package files and hashes; the usual proxy variables.
    pub fn from_env() -> Self {
        Self::from_variables(&|name| std::env::var(name).ok())
    }

    /// [`Options::from_env`] on any set of variables, because the process has only one environment.
    pub(crate) fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let home = set("HOME").or_else(|| set("USERPROFILE")).map(PathBuf::from);
        let folder = |name: &str| set(name).map(|value| expanded(&value, home.as_ref()));
        let yes = |name: &str| {
            set(name).is_some_and(|v| {
                matches!(v.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
            })
        };

        let caches = folder("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        let ours = caches.as_ref().map(|caches| caches.join("ulpscope"));
        let hf_home = folder("HF_HOME").or_else(|| caches.as_ref().map(|c| c.join("huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hf_home.as_ref().map(|hf| hf.join("hub")));
        let token_file = folder("HF_TOKEN_PATH").or_else(|| hf_home.as_ref().map(|hf| hf.join("token")));
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            token_file
                .filter(|_| !yes("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
                .and_then(|file| std::fs::read_to_string(file).ok())
        });
        let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
        Self {
            hub_offline: yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
            token: token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()),
            cache,
            packages: ours.as_ref().map(|ours| ours.join("packages")),
            hashes: ours.map(|ours| ours.join("sha256")),
            endpoint: set("HF_ENDPOINT")
                .map_or_else(|| DEFAULT_ENDPOINT.into(), |e| e.trim().trim_end_matches('/').to_owned()),
            proxied: proxies.iter().any(|p| set(p).is_some() || set(&p.to_ascii_lowercase()).is_some()),
            ..Self::default()
        }
    }

    /// The endpoint as it may be shown.
    pub(crate) fn shown_endpoint(&self) -> String {
        // Whoever forgets the scheme, or to escape a slash, has not forgotten the password.
        let (scheme, rest) = self.endpoint.split_once("://").unwrap_or(("", &self.endpoint));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let (host, more) = host.split_at(host.find(['?', '#']).unwrap_or(host.len()));
        let mark = if scheme.is_empty() { "" } else { "://" };
        self.shown(&format!("{scheme}{mark}{host}{}", if more.is_empty() { "" } else { "?<hidden>" }))
    }

    /// `text` without the token and without credentials in URLs, on one line.
    pub(crate) fn shown(&self, text: &str) -> String {
        super::one_line(&without_credentials(text, self.token.as_deref()))
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments: Vec<_> = self.pip_arguments.iter().map(|a| self.shown(a)).collect();
        f.debug_struct("Options")
            .field("offline", &self.offline)
            .field("hub_offline", &self.hub_offline)
            .field("token", &self.token.as_deref().map(Secret))
            .field("cache", &self.cache)
            .field("packages", &self.packages)
            .field("hashes", &self.hashes)
            .field("endpoint", &self.shown_endpoint())
            .field("proxied", &self.proxied)
            .field("connect_timeout", &self.connect_timeout)
            .field("stall_timeout", &self.stall_timeout)
            .field("package_timeout", &self.package_timeout)
            .field("pip", &self.pip)
            .field("pip_arguments", &arguments)
            .finish()
    }
}

/// A leading `~` stands for the home folder, as Python's `expanduser` has it.
fn expanded(value: &str, home: Option<&PathBuf>) -> PathBuf {
    match (value.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.clone(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Options {
        Options::from_variables(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_the_first_that_is_named() {
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "/c"),
            ("XDG_CACHE_HOME", "/d"),
            ("HOME", "/e"),
        ];
        let wanted = ["/a", "/b", "/c/hub", "/d/huggingface/hub", "/e/.cache/huggingface/hub"];
        for (dropped, wanted) in wanted.iter().enumerate() {
            assert_eq!(from(&all[dropped..]).cache, Some(PathBuf::from(wanted)));
        }
        assert_eq!(from(&[]).cache, None);
        assert_eq!(from(&[("HF_HUB_CACHE", "  "), ("HOME", "/e")]).cache, Some(wanted[4].into()));
        assert_eq!(from(&[("HF_HOME", "~/h"), ("HOME", "/e")]).cache, Some("/e/h/hub".into()));
    }

    #[test]
    fn a_token_comes_from_a_variable_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(from(&[("HF_HOME", home)]).token, None);
        std::fs::write(folder.path().join("token"), "from-home\n").unwrap();
        std::fs::write(folder.path().join("other"), "from-path").unwrap();
        let other = folder.path().join("other");
        let other = other.to_str().unwrap();
        let token = |pairs: &[(&str, &str)]| from(pairs).token;
        assert_eq!(token(&[("HF_HOME", home)]).as_deref(), Some("from-home"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN_PATH", other)]).as_deref(), Some("from-path"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", " given ")]).as_deref(), Some("given"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn the_switches_are_read() {
        assert!(from(&[("HF_HUB_OFFLINE", "True")]).hub_offline);
        assert!(!from(&[("HF_HUB_OFFLINE", "0")]).hub_offline);
        assert!(!from(&[("HF_HUB_OFFLINE", "1")]).offline);
        assert!(from(&[("https_proxy", "http://p:1")]).proxied);
        assert_eq!(from(&[("HF_ENDPOINT", "http://h:1/")]).endpoint, "http://h:1");
        assert_eq!(from(&[]).endpoint, DEFAULT_ENDPOINT);
    }

    #[test]
    fn debug_shows_no_secret() {
        let options = Options {
            token: Some("hf_secret".into()),
            endpoint: "https://me:pass@hub.example".into(),
            pip_arguments: vec!["--index-url=https://me:pass@index.example/x".into()],
            ..Options::default()
        };
        let shown = format!("{options:?} {options:#?}");
        assert!(!shown.contains("hf_secret") && !shown.contains("pass@"), "{shown}");
        assert!(shown.contains("hub.example") && shown.contains("<hidden>"), "{shown}");
    }
}
