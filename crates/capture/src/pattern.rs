//! Patterns that choose sites by name.

use std::fmt;
use std::str::FromStr;

use ulpscope_decoder::Site;

/// A glob over site names: `*` stands for any run of characters, `?` for one; several patterns are
/// joined by commas.
///
/// ```
/// use ulpscope_capture::Pattern;
///
/// let pattern: Pattern = "model.layers.0.*,lm_head".parse()?;
/// assert!(pattern.matches_name("model.layers.0.mlp.up_proj"));
/// assert!(!pattern.matches_name("model.layers.10"));
/// # Ok::<(), ulpscope_capture::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern that can match nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern for sites; try `*` or `model.layers.0.*`")]
pub struct PatternError(String);

impl Pattern {
    /// Matches every site.
    pub fn all() -> Self {
        Pattern("*".to_owned())
    }

    /// Whether the site is chosen.
    pub fn matches(&self, site: Site) -> bool {
        self.0 == "*" || self.matches_name(&site.to_string())
    }

    /// Whether a site of this name is chosen.
    pub fn matches_name(&self, name: &str) -> bool {
        self.0.split(',').any(|glob| glob_matches(glob.trim().as_bytes(), name.as_bytes()))
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(s: &str) -> Result<Self, PatternError> {
        if s.split(',').any(|part| part.trim().is_empty()) {
            return Err(PatternError(s.to_owned()));
        }
        Ok(Pattern(s.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Backtracks to the last `*` only, so that the time is at most the product of the lengths.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    #[test]
    fn globs() {
        for (glob, name, expected) in [
            ("*", "anything", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.q_proj", "model.layers.3.self_attn.q_proj", true),
            ("", "", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
        let long = "a".repeat(20_000);
        assert!(!glob_matches(b"*a*a*a*a*b", long.as_bytes()));
    }

    #[test]
    fn empty_parts_are_refused() {
        assert!("".parse::<Pattern>().is_err());
        assert!("a,,b".parse::<Pattern>().is_err());
    }

    /// The glob against a plain recursive definition of it.
    #[test]
    fn fuzz_pattern() {
        fn slow(glob: &[u8], name: &[u8]) -> bool {
            match (glob.first(), name.first()) {
                (None, None) => true,
                (Some(b'*'), None) => slow(&glob[1..], name),
                (Some(b'*'), Some(_)) => slow(&glob[1..], name) || slow(glob, &name[1..]),
                (Some(g), Some(n)) if *g == b'?' || g == n => slow(&glob[1..], &name[1..]),
                _ => false,
            }
        }
        Target::new("pattern", env!("CARGO_MANIFEST_DIR"))
            .seed("model.layers.0.*,lm_head")
            .seed("*.mlp.?own_proj")
            .words(&["*", "?", ",", "model.", "layers.", "0", ".q_proj", " "])
            .text()
            .run(|input| {
                let text = String::from_utf8_lossy(input);
                let pattern: Pattern = text.parse().map_err(|e: PatternError| e.to_string())?;
                assert_eq!(pattern.to_string(), text);
                let mut matched = 0;
                for name in ["model.layers.0.mlp.down_proj", "lm_head", "", "aaaaaaaaaaaaaaaaaaaa"] {
                    let found = pattern.matches_name(name);
                    matched += usize::from(found);
                    // The definition takes exponential time where there are many stars.
                    if text.len() < 24 && text.matches('*').count() < 5 {
                        let wanted =
                            text.split(',').any(|glob| slow(glob.trim().as_bytes(), name.as_bytes()));
                        assert_eq!(found, wanted, "{text:?} {name:?}");
                    }
                }
                Ok("x".repeat(matched))
            });
    }
}
