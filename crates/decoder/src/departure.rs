//! Variants: departures from Hugging Face's arithmetic, as data.
//!
//! Another engine computes the same model with other roundings; a faulty one computes another
//! function. Each such choice is a value of a class here, so that it can be put in, taken out, and
//! named. It overrides a field of the description that a family sets.

use std::fmt;
use std::str::FromStr;

mod mask;
mod positions;
mod touches;
mod values;

pub use mask::Mask;
pub use positions::Positions;
pub use values::{
    Act, Cache, Embedding, Gqa, Head, Mlp, Norm, QkNorm, Residual, Rope, Scale, Scores, Softmax, Table,
};

macro_rules! classes {
    ($($(#[$doc:meta])* $field:ident: $class:ident),* $(,)?) => {
        /// One departure from Hugging Face's arithmetic, written `CLASS=VALUE`: `norm=fused`,
        /// `positions=+1`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Variant { $($(#[$doc])* $class($class)),* }

        /// A set of variants, at most one of each class. The default is none: Hugging Face's
        /// arithmetic.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct Variants { $($(#[$doc])* pub $field: Option<$class>),* }

        impl Variant {
            /// The names of all classes.
            pub const CLASSES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// The name of its class.
            pub fn class(self) -> &'static str {
                match self { $(Variant::$class(_) => stringify!($field)),* }
            }

            /// Every variant; of numbered ones, one.
            pub fn all() -> impl Iterator<Item = Variant> {
                let all: Vec<Variant> = [$($class::ALL.iter().copied().map(Variant::$class).collect()),*]
                    .into_iter().flat_map(|class: Vec<Variant>| class).collect();
                all.into_iter()
            }

            /// The variant of a class; `Err` is what the class has.
            fn read(class: &str, value: &str) -> Option<Result<Variant, String>> {
                match class {
                    $(stringify!($field) =>
                        Some($class::read(value).map(Variant::$class).ok_or_else($class::known)),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Variant {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = match self { $(Variant::$class(value) => value.to_string()),* };
                f.pad(&format!("{}={value}", self.class()))
            }
        }

        impl Variants {
            /// With this variant, in place of another of its class.
            #[must_use]
            pub fn with(mut self, variant: Variant) -> Self {
                match variant { $(Variant::$class(value) => self.$field = Some(value)),* }
                self
            }

            /// Without any variant of the class that `variant` belongs to.
            #[must_use]
            pub fn without(mut self, variant: Variant) -> Self {
                match variant { $(Variant::$class(_) => self.$field = None),* }
                self
            }

            /// The variants in the set, by class.
            pub fn iter(self) -> impl Iterator<Item = Variant> {
                [$(self.$field.map(Variant::$class)),*].into_iter().flatten()
            }
        }
    };
}

classes! {
    /// What happens to embeddings.
    embedding: Embedding,
    /// What position ids are.
    positions: Positions,
    /// The format of the tables of cos and sin.
    table: Table,
    /// How the norms round, and use their weight.
    norm: Norm,
    /// What the norms of queries and keys do.
    qk_norm: QkNorm,
    /// How queries and keys are rotated.
    rope: Rope,
    /// The format of keys and values.
    cache: Cache,
    /// Which key and value head a query head reads.
    gqa: Gqa,
    /// What scores are multiplied by.
    scale: Scale,
    /// Where eager scores round.
    scores: Scores,
    /// Which keys a query sees.
    mask: Mask,
    /// Where the softmax rounds.
    softmax: Softmax,
    /// A missing term of the residual stream.
    residual: Residual,
    /// Where the activation rounds.
    act: Act,
    /// How gate and up are multiplied.
    mlp: Mlp,
    /// Where the logits round.
    head: Head,
}

impl Variants {
    /// Whether this is Hugging Face's arithmetic.
    pub fn is_empty(self) -> bool {
        self == Variants::default()
    }
}

impl FromIterator<Variant> for Variants {
    fn from_iter<I: IntoIterator<Item = Variant>>(variants: I) -> Self {
        variants.into_iter().fold(Variants::default(), Variants::with)
    }
}

/// Text that stands for no departure, or departures that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VariantError {
    /// No class of this name.
    #[error("`{text}` is no variant: variants are written CLASS=VALUE, with one of the classes {}", Variant::CLASSES.join(", "))]
    Class {
        /// What was written.
        text: String,
    },
    /// No value of this name in the class.
    #[error("`{class}={value}` is no variant: {class} can be {known}")]
    Value {
        /// The class.
        class: String,
        /// What was written as its value.
        value: String,
        /// What the class has.
        known: String,
    },
    /// No layers, or not written as layers are.
    #[error("`{text}` names no layers; one is written [3], several [3-5]")]
    Layers {
        /// What was written.
        text: String,
    },
    /// Layers behind a variant that acts outside the blocks.
    #[error("`{variant}` acts outside the blocks, so it can't be restricted to layers")]
    Outside {
        /// The variant.
        variant: Variant,
    },
    /// Two variants of one class at one layer.
    #[error("`{first}` and `{second}` are two variants of one class at the same place")]
    Contradiction {
        /// The first departure, as written.
        first: String,
        /// The second departure, as written.
        second: String,
    },
    /// Layers that the model does not have.
    #[error("`{departure}`: the model has {layers} layers, counted from 0")]
    NoSuchLayer {
        /// The departure, as written.
        departure: String,
        /// Layers of the model.
        layers: usize,
    },
}

impl FromStr for Variant {
    type Err = VariantError;

    fn from_str(text: &str) -> Result<Self, VariantError> {
        let unknown = || VariantError::Class { text: text.to_owned() };
        let (class, value) = text.split_once('=').ok_or_else(unknown)?;
        Variant::read(class, value).ok_or_else(unknown)?.map_err(|known| VariantError::Value {
            class: class.to_owned(),
            value: value.to_owned(),
            known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for variant in Variant::all() {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        assert_eq!("positions=-7".parse(), Ok(Variant::Positions(Positions::From(-7))));
        let window = Mask::Window(std::num::NonZeroUsize::new(128).unwrap());
        assert_eq!("mask=window-128".parse(), Ok(Variant::Mask(window)));
        assert!(Variant::all().count() > 40);
    }

    #[test]
    fn what_is_no_variant_is_refused_with_what_is_known() {
        for (text, part) in [
            ("", "norm, rope"),
            ("fused", "norm, rope"),
            ("norms=fused", "norm, rope"),
            ("norm=", "norm can be fused, storage"),
            ("norm=Fused", "norm can be fused, storage"),
            ("positions=1", "bf16, f16, +N, -N"),
            ("positions=+0", "bf16, f16, +N, -N"),
            ("positions=+9999999", "bf16, f16, +N, -N"),
            ("mask=window", "none, strict, ahead, window-N"),
            ("mask=window-0", "none, strict, ahead, window-N"),
            ("mask=window-+4", "none, strict, ahead, window-N"),
        ] {
            let error = text.parse::<Variant>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_set_has_one_of_each_class() {
        let set: Variants =
            [Variant::Norm(Norm::Fused), Variant::Rope(Rope::None), Variant::Norm(Norm::Storage)]
                .into_iter()
                .collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Variant::Norm(Norm::Storage), Variant::Rope(Rope::None)]);
        let without = set.without(Variant::Norm(Norm::Fused)).without(Variant::Rope(Rope::Fused));
        assert!(without.is_empty() && !set.is_empty());
    }
}
