//! Which keys a query sees.

use std::fmt;
use std::num::NonZeroUsize;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mask {
    /// Its own and those before it, however far.
    #[default]
    Causal,
    /// All.
    None,
    /// Those before it. The first query sees none: uniform probabilities in eager attention, zeros
    /// in sdpa.
    Strict,
    /// Its own, those before it, and the next.
    Ahead,
    /// The last so many, its own included: `sliding_window`, as Mistral has it.
    Window(NonZeroUsize),
}

impl Mask {
    /// One of each; of windows, one.
    pub const ALL: &'static [Self] =
        &[Mask::None, Mask::Strict, Mask::Ahead, Mask::Window(NonZeroUsize::new(4).unwrap()), Mask::Causal];

    /// The value of this name; a window has its width in tokens.
    pub(crate) fn read(name: &str) -> Option<Self> {
        match name {
            "causal" => Some(Mask::Causal),
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
        "none, strict, ahead, window-N, causal".to_owned()
    }

    /// Whether the query at a position sees the key at another.
    pub fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Mask::Causal => key <= query,
            Mask::None => true,
            Mask::Strict => key < query,
            Mask::Ahead => key <= query + 1,
            Mask::Window(width) => key <= query && query - key < width.get(),
        }
    }

    /// The width of a window, where kernels know the mask: `Some(None)` without a window.
    pub(crate) fn window(self) -> Option<Option<NonZeroUsize>> {
        match self {
            Mask::Causal => Some(None),
            Mask::Window(width) => Some(Some(width)),
            _ => None,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mask::Causal => f.pad("causal"),
            Mask::None => f.pad("none"),
            Mask::Strict => f.pad("strict"),
            Mask::Ahead => f.pad("ahead"),
            Mask::Window(width) => f.pad(&format!("window-{width}")),
        }
    }
}
