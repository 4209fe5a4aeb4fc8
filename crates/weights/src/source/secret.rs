//! What must not reach a message: tokens, and credentials written into a URL.

/// A text whose `Debug` shows only that it is there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret<'a>(pub(crate) &'a str);

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// `text` with every `user:password@` and every query taken out of the URLs in it, and with `token`
/// replaced.
///
/// Error texts of other people's code pass through here: an HTTP client may quote the URL or the
/// header it could not use.
pub(crate) fn without_credentials(text: &str, token: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>`".contains(c)).unwrap_or(after.len());
        let authority = &after[..end];
        out.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = &after[end..];
        // A query may hold a key, and that of a redirect is signed.
        let end = rest.find(|c: char| c.is_whitespace() || "\"'<>`".contains(c)).unwrap_or(rest.len());
        let hidden = |at: &usize| rest[*at..].starts_with("?<hidden>");
        if let Some(at) = rest[..end].find(['?', '#']).filter(|at| !hidden(at)) {
            out.push_str(&rest[..at]);
            out.push_str("?<hidden>");
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    match token {
        Some(token) if !token.is_empty() => out.replace(token, "<token>"),
        _ => out,
    }
}

/// `text` on one line and of bounded length, for quoting inside an error.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &joined[..at]),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_urls_and_nothing_else_changes() {
        let cases = [
            ("GET https://me:pw@hub.example/api failed", "GET https://hub.example/api failed"),
            ("https://me:p@w@hub.example", "https://hub.example"),
            ("mail a@b.example, see http://x/y@z", "mail a@b.example, see http://x/y@z"),
            ("two http://a:b@c/ and 'http://d:e@f'", "two http://c/ and 'http://f'"),
            ("at http://h/a?key=pw&x=y#z, 'http://h?k=pw'", "at http://h/a?<hidden> 'http://h?<hidden>'"),
            ("http://h/?<hidden>", "http://h/?<hidden>"),
            ("", ""),
        ];
        for (given, wanted) in cases {
            assert_eq!(without_credentials(given, None), wanted);
        }
    }

    #[test]
    fn a_token_is_replaced_wherever_it_stands() {
        assert_eq!(without_credentials("Bearer hf_abc, hf_abc", Some("hf_abc")), "Bearer <token>, <token>");
        assert_eq!(without_credentials("untouched", Some("")), "untouched");
        assert_eq!(format!("{:?}", Secret("hf_abc")), "<hidden>");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(one_line(" a\n  b\t"), "a b");
        let cut = one_line(&"é".repeat(400));
        assert_eq!(cut.chars().count(), 301);
    }
}
