//! Which arithmetic each part of the model has.

use std::fmt;
use std::str::FromStr;

use ulpscope_floats::DType;

use crate::architecture::Architecture;
use crate::arithmetic::Arithmetic;
use crate::departure::{Variant, VariantError};
use crate::site::{AttentionKind, Site};

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layers {
    /// Index of the first.
    pub first: usize,
    /// Index of the last, which belongs to them.
    pub last: usize,
}

impl Layers {
    /// Whether block `layer` is one of them.
    pub fn contains(self, layer: usize) -> bool {
        (self.first..=self.last).contains(&layer)
    }

    fn overlap(self, other: Layers) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layers { first, last } = self;
        if first == last { f.pad(&format!("[{first}]")) } else { f.pad(&format!("[{first}-{last}]")) }
    }
}

impl FromStr for Layers {
    type Err = VariantError;

    fn from_str(text: &str) -> Result<Self, VariantError> {
        let inner = || text.strip_prefix('[')?.strip_suffix(']');
        let read = || {
            let inner = inner()?;
            let (first, last) = inner.split_once('-').unwrap_or((inner, inner));
            let layers = Layers { first: first.parse().ok()?, last: last.parse().ok()? };
            (layers.first <= layers.last).then_some(layers)
        };
        read().ok_or_else(|| VariantError::Layers { text: text.to_owned() })
    }
}

/// A variant and where it holds, written `norm=fused`, `norm=fused[3]` or `norm=fused[3-5]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Departure {
    /// What is computed otherwise.
    pub variant: Variant,
    /// The only blocks where it is; everywhere if `None`.
    pub layers: Option<Layers>,
}

impl Departure {
    /// The sites whose outputs it can change while their inputs stay as they are, in forward order.
    /// [`Variant::touches`] says more.
    pub fn touches(self, of: &Architecture, attention: AttentionKind, dtype: DType) -> Vec<Site> {
        let held = |site: &Site| match (self.layers, site.layer()) {
            (None, _) => true,
            (Some(layers), layer) => layer.is_some_and(|layer| layers.contains(layer)),
        };
        self.variant.touches(of, attention, dtype).into_iter().filter(held).collect()
    }
}

impl From<Variant> for Departure {
    /// Everywhere.
    fn from(variant: Variant) -> Self {
        Departure { variant, layers: None }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.layers.map(|layers| layers.to_string()).unwrap_or_default();
        f.pad(&format!("{}{layers}", self.variant))
    }
}

impl FromStr for Departure {
    type Err = VariantError;

    fn from_str(text: &str) -> Result<Self, VariantError> {
        let (variant, layers) = text.split_at(text.find('[').unwrap_or(text.len()));
        let variant: Variant = variant.parse()?;
        let layers: Option<Layers> = if layers.is_empty() { None } else { Some(layers.parse()?) };
        if layers.is_some() && !variant.in_blocks() {
            return Err(VariantError::Outside { variant });
        }
        Ok(Departure { variant, layers })
    }
}

/// The arithmetic of every part of a model: one for all, and departures of some blocks.
///
/// ```
/// use ulpscope_decoder::{AttentionKind, Semantics, departure::Norm};
///
/// let mut semantics = Semantics::from(AttentionKind::Eager);
/// semantics.add("norm=fused[3-5]".parse()?)?;
/// assert_eq!(semantics.at(Some(4)).variants.norm, Some(Norm::Fused));
/// assert_eq!(semantics.at(Some(6)).variants.norm, None);
/// assert_eq!(semantics.at(None).variants.norm, None); // `model.norm` is in no block
/// # Ok::<(), ulpscope_decoder::VariantError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Semantics {
    /// The arithmetic of everything that departs nowhere.
    pub base: Arithmetic,
    /// Variants of some blocks, which take precedence.
    pub only: Vec<(Variant, Layers)>,
}

impl Semantics {
    /// The arithmetic of block `layer`, or with `None` of what is in no block: embedding, tables,
    /// final norm, head.
    pub fn at(&self, layer: Option<usize>) -> Arithmetic {
        let mut arithmetic = self.base;
        let Some(layer) = layer else { return arithmetic };
        for (variant, _) in self.only.iter().filter(|(_, layers)| layers.contains(layer)) {
            arithmetic.variants = arithmetic.variants.with(*variant);
        }
        arithmetic
    }

    /// Adds a departure. One that is restricted to some blocks goes before one that is not.
    ///
    /// # Errors
    /// [`VariantError::Contradiction`] if there is another of its class, as much restricted, at the
    /// same place; [`VariantError::Outside`] if it is restricted and can't be.
    pub fn add(&mut self, departure: Departure) -> Result<(), VariantError> {
        let Departure { variant, layers } = departure;
        if layers.is_some() && !variant.in_blocks() {
            return Err(VariantError::Outside { variant });
        }
        let clash = self.departures().find(|other| {
            other.variant.class() == variant.class()
                && match (other.layers, layers) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a.overlap(b),
                    _ => false,
                }
        });
        if let Some(first) = clash {
            let (first, second) = (first.to_string(), departure.to_string());
            return Err(VariantError::Contradiction { first, second });
        }
        match layers {
            None => self.base.variants = self.base.variants.with(variant),
            Some(layers) => self.only.push((variant, layers)),
        }
        Ok(())
    }

    /// With a departure in place of any other of its class at its layers: for counterfactuals.
    #[must_use]
    pub fn with(mut self, departure: impl Into<Departure>) -> Self {
        let Departure { variant, layers } = departure.into();
        match layers {
            None => {
                self.only.retain(|(other, _)| other.class() != variant.class());
                self.base.variants = self.base.variants.with(variant);
            }
            // The last one of a class wins.
            Some(layers) => self.only.push((variant, layers)),
        }
        self
    }

    /// Without this departure, if it is there: what it undoes, another of its class may still do.
    #[must_use]
    pub fn without(mut self, departure: impl Into<Departure>) -> Self {
        let Departure { variant, layers } = departure.into();
        match layers {
            None if self.base.variants.with(variant) == self.base.variants => {
                self.base.variants = self.base.variants.without(variant);
            }
            None => {}
            Some(layers) => self.only.retain(|other| *other != (variant, layers)),
        }
        self
    }

    /// All departures from Hugging Face's arithmetic: those of the whole model, by class, then
    /// those of some blocks.
    pub fn departures(&self) -> impl Iterator<Item = Departure> {
        let everywhere = self.base.variants.iter().map(Departure::from);
        let some = self.only.iter().map(|&(variant, layers)| Departure { variant, layers: Some(layers) });
        everywhere.chain(some)
    }

    /// Checks that a model has the layers that are named.
    ///
    /// # Errors
    /// [`VariantError::NoSuchLayer`].
    pub fn check(&self, of: &Architecture) -> Result<(), VariantError> {
        let layers = of.layers.len();
        match self.departures().find(|d| d.layers.is_some_and(|named| named.last >= layers)) {
            Some(departure) => Err(VariantError::NoSuchLayer { departure: departure.to_string(), layers }),
            None => Ok(()),
        }
    }
}

impl From<Arithmetic> for Semantics {
    /// The same everywhere.
    fn from(base: Arithmetic) -> Self {
        Semantics { base, only: Vec::new() }
    }
}

impl From<AttentionKind> for Semantics {
    /// This attention, in the default order.
    fn from(attention: AttentionKind) -> Self {
        Arithmetic::from(attention).into()
    }
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;
    use crate::departure::{Norm, Rope};

    #[global_allocator]
    static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

    fn semantics(texts: &[&str]) -> Result<Semantics, VariantError> {
        let mut semantics = Semantics::default();
        texts.iter().try_for_each(|text| semantics.add(text.parse()?))?;
        Ok(semantics)
    }

    #[test]
    fn departures_are_read_back() {
        let texts = ["norm=fused", "scale=1/D", "positions=+2", "norm=storage[3]", "rope=none[3-5]"];
        let read: Vec<String> =
            semantics(&texts).unwrap().departures().map(|departure| departure.to_string()).collect();
        assert_eq!(read, ["positions=+2", "norm=fused", "scale=1/D", "norm=storage[3]", "rope=none[3-5]"]);
    }

    #[test]
    fn blocks_go_before_the_whole() {
        let semantics = semantics(&["norm=fused", "norm=storage[3]", "rope=none[3-5]"]).unwrap();
        let at = |layer| {
            let variants = semantics.at(layer).variants;
            (variants.norm, variants.rope)
        };
        assert_eq!(at(None), (Some(Norm::Fused), None));
        assert_eq!(at(Some(2)), (Some(Norm::Fused), None));
        assert_eq!(at(Some(3)), (Some(Norm::Storage), Some(Rope::None)));
        assert_eq!(at(Some(5)), (Some(Norm::Fused), Some(Rope::None)));
        let replaced = semantics.clone().with(Variant::Norm(Norm::Gemma));
        assert_eq!(replaced.at(Some(3)).variants.norm, Some(Norm::Gemma));
        let undone = semantics.clone().departures().fold(semantics, Semantics::without);
        assert_eq!(undone, Semantics::default());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (texts, part) in [
            (&["norm=fused", "norm=storage"][..], "two variants of one class"),
            (&["norm=fused[2-4]", "norm=storage[4]"], "two variants of one class"),
            (&["table=bf16[3]"], "outside the blocks"),
            (&["norm=fused[]"], "one is written [3]"),
            (&["norm=fused[5-3]"], "one is written [3]"),
            (&["norm=fused[3"], "one is written [3]"),
            (&["norm=fused[3]x"], "one is written [3]"),
        ] {
            let error = semantics(texts).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn fuzz_departure() {
        Target::new("departure", env!("CARGO_MANIFEST_DIR"))
            .seed("norm=fused[3-5]")
            .seed("positions=-7")
            .seed("scale=1/8[0]")
            .seed("rope=interleaved,norm=storage[1],norm=gemma[2-3]")
            .words(&[
                "norm=",
                "fused",
                "rope=",
                "positions=",
                "+",
                "scale=1/",
                "[",
                "]",
                "-",
                "cache=e4m3",
                "table=f32",
            ])
            .text()
            .run(|input| {
                let text = String::from_utf8_lossy(input);
                let mut semantics = Semantics::default();
                for part in text.split(',') {
                    let departure: Departure = part.parse().map_err(|e: VariantError| e.to_string())?;
                    assert_eq!(departure.to_string().parse(), Ok(departure), "{part:?}");
                    semantics.add(departure).map_err(|e| e.to_string())?;
                }
                for layer in [None, Some(0), Some(3), Some(usize::MAX)] {
                    semantics.at(layer);
                }
                let names: Vec<String> = semantics.departures().map(|d| d.variant.to_string()).collect();
                Ok(names.join(","))
            });
    }
}
