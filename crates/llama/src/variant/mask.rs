//! Which keys a query sees.

use std::fmt;
use std::num::NonZeroUsize;

/// Which keys a query sees, instead of its own and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mask {
    /// All.
    None,
    /// Those before it. The first query sees none: uniform probabilities in eager attention, zeros in sdpa.
    Strict,
    /// Its own, those before it, and the next.
    Ahead,
    /// The last so many, its own included: `sliding_window`, as Mistral has it.
    Window(NonZeroUsize),
}

impl Mask {
    /// One of each; of windows, one.
    pub const ALL: &'static [Self] =
        &[Mask::None, Mask::Strict, Mask::Ahead, Mask::Window(NonZeroUsize::new(4).unwrap())];

    /// The value of this name; a window has its width in tokens.
    pub(crate) fn read(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Mask::None),
            "strict" => Some(Mask::Strict),
            "ahead" => Some(Mask::Ahead),
            _ => {
                let width = name.strip_prefix("window-")?;
                width
                    .parse()
                    .ok()
                    .filter(|_| width.starts_with(|c: char| c.is_ascii_digit()))
                    .map(Mask::Window)
            }
        }
    }

    /// The names that are read.
    pub(crate) fn known() -> String {
        "none, strict, ahead, window-N".to_owned()
    }

    /// Whether the query at a position sees the key at another.
    pub(crate) fn sees(this: Option<Self>, query: usize, key: usize) -> bool {
        match this {
            None => key <= query,
            Some(Mask::None) => true,
            Some(Mask::Strict) => key < query,
            Some(Mask::Ahead) => key <= query + 1,
            Some(Mask::Window(width)) => key <= query && query - key < width.get(),
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mask::None => f.pad("none"),
            Mask::Strict => f.pad("strict"),
            Mask::Ahead => f.pad("ahead"),
            Mask::Window(width) => f.pad(&format!("window-{width}")),
        }
    }
}
