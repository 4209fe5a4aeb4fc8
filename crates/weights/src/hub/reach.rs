//! Whether the hub can be reached at all, found out in seconds.
//!
//! `hf-hub` sets no timeout, and a machine without a network may wait minutes for a name to resolve
//! or a packet to be answered.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ureq::{Error, Timeout};

use crate::source::{Options, SourceError};

/// Why a question has no answer.
pub(super) enum Unheard {
    /// Nobody was there to hear it.
    Unreachable(String),
    /// It was heard, and then nothing came.
    Stalled,
    /// What came is no answer.
    Nonsense(String),
}

/// What a client's error comes to: silence is told from a refusal, and both from a wrong name.
pub(super) fn unheard(error: Error, options: &Options) -> Unheard {
    let seconds = options.connect_timeout.as_secs_f32();
    match error {
        Error::Timeout(Timeout::Resolve) => {
            Unheard::Unreachable(format!("its name did not resolve within {seconds} s"))
        }
        Error::Timeout(Timeout::Connect) => Unheard::Unreachable(silent(options.connect_timeout)),
        Error::Timeout(_) => Unheard::Stalled,
        Error::HostNotFound => Unheard::Unreachable("its name does not resolve".into()),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Unheard::Stalled,
        Error::Io(error) => Unheard::Unreachable(options.shown(&refusal(&error))),
        Error::BadUri(_) | Error::TooManyRedirects | Error::BodyExceedsLimit(_) => {
            Unheard::Nonsense(options.shown(&error.to_string()))
        }
        error => Unheard::Unreachable(options.shown(&error.to_string())),
    }
}

fn silent(patience: Duration) -> String {
    format!("a connection was not answered within {} s", patience.as_secs_f32())
}

fn refusal(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "the connection was refused: nothing listens on that port".into(),
        _ => error.to_string(),
    }
}

/// Opens and closes one connection to the hub's host.
pub(super) fn check(options: &Options) -> Result<(), SourceError> {
    let (host, port) = host_and_port(&options.endpoint)
        .ok_or_else(|| SourceError::BadEndpoint { endpoint: options.shown_endpoint() })?;
    if options.proxied {
        return Ok(());
    }
    let unreachable = |reason: String| SourceError::Unreachable {
        endpoint: options.shown_endpoint(),
        reason: options.shown(&reason),
    };
    let addresses = resolve(host.clone(), port, options.connect_timeout).map_err(&unreachable)?;
    connect(&addresses, options.connect_timeout).map_err(unreachable)
}

/// The system's resolver cannot be interrupted, so it runs in a thread that is left behind if it is
/// slow.
fn resolve(host: String, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, String> {
    let (sender, receiver) = mpsc::channel();
    let name = host.clone();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more when it took too long.
        let _ = sender.send(found);
    });
    match receiver.recv_timeout(patience) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(format!("the name {host} has no address")),
        Ok(Err(error)) => Err(format!("the name {host} does not resolve: {error}")),
        Err(_) => Err(format!("the name {host} did not resolve within {} s", patience.as_secs_f32())),
    }
}

/// Tries each address in turn, sharing the time, so that one dead address does not use it all up.
fn connect(addresses: &[SocketAddr], patience: Duration) -> Result<(), String> {
    let started = Instant::now();
    let mut last = silent(patience);
    for (tried, address) in addresses.iter().enumerate() {
        let left = patience.saturating_sub(started.elapsed());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => last = refusal(&error),
        }
    }
    Err(last)
}

/// The host and port of `http[s]://[user@]host[:port][/path]`; none of what has a query, to which
/// no path could be added.
fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let standard = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    if rest.contains(['?', '#']) {
        return None;
    }
    let authority = rest.split('/').next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.strip_prefix('[') {
        Some(v6) => {
            let (host, tail) = v6.split_once(']')?;
            (host, tail.strip_prefix(':'))
        }
        None => match host_port.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    let port = port.map_or(Some(standard), |port| port.parse().ok())?;
    let fine = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control());
    fine.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let cases = [
            ("https://hub.example", Some(("hub.example", 443))),
            ("http://hub.example/mirror", Some(("hub.example", 80))),
            ("HTTP://127.0.0.1:9", Some(("127.0.0.1", 9))),
            ("https://me:pw@hub.example:8443/x", Some(("hub.example", 8443))),
            ("http://[::1]:8080", Some(("::1", 8080))),
            ("hub.example", None),
            ("ftp://hub.example", None),
            ("https://", None),
            ("https://hub.example:port", None),
            ("https://hub.example/?key=x", None),
        ];
        for (endpoint, wanted) in cases {
            assert_eq!(host_and_port(endpoint), wanted.map(|(h, p)| (h.to_owned(), p)), "{endpoint}");
        }
    }

    #[test]
    fn a_closed_port_is_an_answer_at_once() {
        let options = Options { endpoint: "http://me:secret@127.0.0.1:9".into(), ..Options::default() };
        let started = Instant::now();
        let error = check(&options).unwrap_err().to_string();
        assert!(started.elapsed() < Duration::from_secs(2));
        assert!(
            error.contains("http://127.0.0.1:9 cannot be reached (the connection was refused"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        // Behind a proxy the same address says nothing.
        check(&Options { proxied: true, ..options }).unwrap();
    }
}
