//! What a family of decoders says about itself.

use std::fmt;

use crate::architecture::Architecture;
use crate::config::{ConfigError, Keys, KnownKeys};

/// A family of decoders: how its config.json becomes a description, and what its files are like.
#[non_exhaustive]
pub struct Family {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// The class in `architectures`.
    pub class: &'static str,
    /// Its GGUF files.
    pub gguf: Gguf,
    /// Reads a config.json. What would change the result is used or refused.
    pub read: fn(&'static Family, &mut Keys) -> Result<Architecture, ConfigError>,
    /// How the family was verified, in a sentence.
    pub verified: &'static str,
    /// What transformers reads its tokenizer with.
    pub tokenizer: TokenizerClass,
}

/// The class with which transformers reads the tokenizer of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenizerClass {
    /// The one that the folder names.
    #[default]
    Named,
    /// The one that reads tokenizer.json as it stands, whatever the folder names.
    AsWritten,
    /// This one where the folder names none.
    Default(&'static str),
    /// This one, whatever the folder names.
    Always(&'static str),
}

impl TokenizerClass {
    /// The class where the folder names this one; `None` for one that reads tokenizer.json as it
    /// stands.
    pub fn of(self, named: Option<&str>) -> Option<&str> {
        match self {
            TokenizerClass::Named => named,
            TokenizerClass::AsWritten => None,
            TokenizerClass::Default(class) => named.or(Some(class)),
            TokenizerClass::Always(class) => Some(class),
        }
    }
}

/// The GGUF files of a family.
#[derive(Clone, Copy, Debug)]
pub struct Gguf {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Whether the converter puts rows of rotated heads into another order: halves become adjacent
    /// pairs.
    pub permuted: bool,
    /// Metadata beyond what all families have: the key behind the architecture's name, and where
    /// config.json has it, with dots between the names of objects.
    pub keys: &'static [(&'static str, &'static str)],
}

impl Family {
    /// A family.
    pub const fn new(
        model_type: &'static str,
        class: &'static str,
        gguf: Gguf,
        read: fn(&'static Family, &mut Keys) -> Result<Architecture, ConfigError>,
        verified: &'static str,
    ) -> Self {
        Family { model_type, class, gguf, read, verified, tokenizer: TokenizerClass::Named }
    }

    /// With this class for its tokenizers.
    pub const fn tokenizer(self, tokenizer: TokenizerClass) -> Self {
        Family { tokenizer, ..self }
    }

    /// What becomes of each key of a config.json that is known.
    pub fn known_keys(&'static self) -> KnownKeys {
        let empty = serde_json::json!({});
        let read = |mut keys: Keys| {
            keys.check_general().and_then(|()| (self.read)(self, &mut keys)).map(|_| keys.read())
        };
        KnownKeys::of(Keys::new(&empty).and_then(read).unwrap_or_default())
    }

    /// Reads a config.json of this family.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what would be accepted.
    pub fn architecture(&'static self, json: &serde_json::Value) -> Result<Architecture, ConfigError> {
        let mut keys = Keys::new(json)?;
        keys.check_class(self.model_type, self.class)?;
        keys.check_general()?;
        let mut architecture = (self.read)(self, &mut keys)?;
        architecture.ignored = keys.finish(self.model_type)?;
        Ok(architecture)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

impl PartialEq for Family {
    /// Families are told apart by their names.
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}
