//! Requests for lists and files, with the token for the hub alone.
//!
//! The hub keeps large files elsewhere and answers with a redirect. `hf-hub` 0.5 sends the token
//! along to wherever that leads when it asks for a list or a file's size; so everything is asked
//! for here, hop by hop.

use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body, Error};

use crate::source::Options;

/// More hops than any file needs.
const HOPS: usize = 10;

/// Asks for files of one hub.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    hub: Option<Place>,
    token: Option<String>,
}

/// Scheme, host and port: who gets to see a token.
type Place = (String, String, u16);

/// An answer, and what the hub itself said of the file on the way to it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// The headers of the hub's answer that names a commit.
    pub(super) hub: HeaderMap,
}

impl Client {
    pub(super) fn new(options: &Options) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            // A file that does not arrive is given up by whoever watches the transfer.
            .timeout_recv_response(Some(options.stall_timeout.max(Duration::from_secs(1))))
            .user_agent(concat!("ulpscope/", env!("CARGO_PKG_VERSION")));
        Client {
            agent: config.build().into(),
            hub: options.endpoint.parse().ok().as_ref().and_then(place),
            token: options.token.clone(),
        }
    }

    /// Asks for an address, or for the bytes of a range of it, such as `bytes=0-0`, and goes where
    /// the answers lead.
    pub(super) fn get(&self, url: &str, range: Option<&str>) -> Result<Answer, Error> {
        let mut url: Uri =
            url.parse().map_err(|_| Error::BadUri("the name of the file makes no address".into()))?;
        let mut hub = HeaderMap::new();
        for _ in 0..HOPS {
            let mut request = self.agent.get(&url);
            if let Some(range) = range {
                request = request.header("Range", range);
            }
            if let Some(token) = self.token.as_ref().filter(|_| self.hub.is_some() && place(&url) == self.hub)
            {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call()?;
            if response.headers().contains_key("x-repo-commit") && place(&url) == self.hub {
                hub.extend(response.headers().clone());
            }
            let led = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
            let Some(location) = response.headers().get("location").filter(|_| led) else {
                return Ok(Answer { response, hub });
            };
            let location = location.to_str().ok().and_then(|to| join(&url, to));
            url = location.ok_or_else(|| Error::BadUri("the hub redirects to what is no address".into()))?;
        }
        Err(Error::TooManyRedirects)
    }
}

fn place(url: &Uri) -> Option<Place> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let standard = if scheme == "https" { 443 } else { 80 };
    Some((scheme, url.host()?.to_ascii_lowercase(), url.port_u16().unwrap_or(standard)))
}

/// Where a redirect leads: an address, or a path on the same host.
fn join(from: &Uri, to: &str) -> Option<Uri> {
    let to: Uri = to.parse().ok()?;
    if to.scheme().is_some() {
        return Some(to).filter(|to| matches!(to.scheme_str(), Some("http" | "https")));
    }
    let mut parts = from.clone().into_parts();
    if let Some(authority) = to.authority() {
        parts.authority = Some(authority.clone());
    }
    parts.path_and_query = Some(to.path_and_query().filter(|path| path.as_str().starts_with('/'))?.clone());
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_of_the_hub_are_the_hub() {
        let of = |text: &str| place(&text.parse().unwrap());
        assert_eq!(of("https://hub.example/a"), of("https://HUB.example:443/b?c"));
        for other in [
            "http://hub.example/a",
            "https://hub.example:8443/a",
            "https://cdn.hub.example/a",
            "https://hub.example.evil.example/a",
            "https://hub.example@evil.example/a",
        ] {
            assert_ne!(of("https://hub.example/a"), of(other), "{other}");
        }
    }

    #[test]
    fn redirects_lead_to_addresses_and_to_paths() {
        let from: Uri = "https://hub.example/a/b?c".parse().unwrap();
        let to = |to: &str| join(&from, to).map(|uri| uri.to_string());
        assert_eq!(to("http://cdn.example/x?y").as_deref(), Some("http://cdn.example/x?y"));
        assert_eq!(to("/x?y").as_deref(), Some("https://hub.example/x?y"));
        assert_eq!(to("file:///etc/passwd"), None);
        assert_eq!(to("ftp://cdn.example/x"), None);
        assert_eq!(to(""), None);
    }
}
