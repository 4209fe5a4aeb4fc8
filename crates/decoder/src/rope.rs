//! Rotary position embedding: inverse frequencies by rope type, as transformers computes them.
//!
//! Source: `modeling_rope_utils.py` of transformers 5. Each formula keeps its order of operations
//! in f32, because the frequencies are compared down to the bit.

use std::fmt;

use serde_json::{Map, Value};
use ulpscope_floats::pow;

use crate::config::{ConfigError, invalid, unsupported};

/// Base and scaling of the rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParameters {
    /// Base of the geometric series of frequencies.
    pub rope_theta: f64,
    /// How frequencies are stretched beyond the trained context.
    pub kind: RopeKind,
    /// Factor by which each frequency is divided on top, as a GGUF's `rope_freqs` tensor has it.
    pub factors: Option<Vec<f32>>,
}

/// `rope_type`, with the parameters that it reads.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are spelled as in config.json, where their meaning is defined")]
#[non_exhaustive]
pub enum RopeKind {
    /// No scaling.
    Default,
    /// Every frequency divided by `factor`.
    Linear { factor: f64 },
    /// NTK scaling: the base grows with the sequence once it is longer than
    /// `max_position_embeddings`.
    Dynamic { factor: f64 },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a ramp between.
    Llama3 { factor: f64, low_freq_factor: f64, high_freq_factor: f64, original_max_position_embeddings: f64 },
    /// YaRN: interpolation and extrapolation mixed by frequency; cos and sin scaled by
    /// `attention_factor`.
    Yarn {
        factor: f64,
        attention_factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        truncate: bool,
        original_max_position_embeddings: f64,
    },
    /// LongRoPE: one set of factors up to the original context length, another beyond.
    LongRope {
        short_factor: Vec<f32>,
        long_factor: Vec<f32>,
        attention_factor: f64,
        original_max_position_embeddings: f64,
    },
}

impl RopeKind {
    /// The name that `rope_type` has in config.json.
    pub fn name(&self) -> &'static str {
        match self {
            RopeKind::Default => "default",
            RopeKind::Linear { .. } => "linear",
            RopeKind::Dynamic { .. } => "dynamic",
            RopeKind::Llama3 { .. } => "llama3",
            RopeKind::Yarn { .. } => "yarn",
            RopeKind::LongRope { .. } => "longrope",
        }
    }

    /// Its fields under their names in config.json, each value as a text; of long lists the number
    /// of entries.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let length = "original_max_position_embeddings";
        let number = |name: &'static str, x: &f64| (name, x.to_string());
        match self {
            RopeKind::Default => Vec::new(),
            RopeKind::Linear { factor } | RopeKind::Dynamic { factor } => vec![number("factor", factor)],
            RopeKind::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => vec![
                number("factor", factor),
                number("low_freq_factor", low_freq_factor),
                number("high_freq_factor", high_freq_factor),
                number(length, original_max_position_embeddings),
            ],
            RopeKind::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                truncate,
                original_max_position_embeddings,
            } => vec![
                number("factor", factor),
                number("attention_factor", attention_factor),
                number("beta_fast", beta_fast),
                number("beta_slow", beta_slow),
                ("truncate", truncate.to_string()),
                number(length, original_max_position_embeddings),
            ],
            RopeKind::LongRope {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings,
            } => vec![
                ("short_factor", factors(short_factor)),
                ("long_factor", factors(long_factor)),
                number("attention_factor", attention_factor),
                number(length, original_max_position_embeddings),
            ],
        }
    }
}

/// Some numbers of a list, and how many there are.
fn factors(all: &[f32]) -> String {
    let shown: Vec<String> = all.iter().take(3).map(f32::to_string).collect();
    format!("[{}{}] ({} numbers)", shown.join(", "), if all.len() > 3 { ", …" } else { "" }, all.len())
}

/// `yarn, factor 4, …`: the name and the fields.
impl fmt::Display for RopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.fields().into_iter().try_for_each(|(name, value)| write!(f, ", {name} {value}"))
    }
}

impl RopeParameters {
    /// Reads `rope_parameters`, or the older `rope_scaling` and `rope_theta`.
    pub(crate) fn from_config(
        map: &Map<String, Value>,
        head_dim: usize,
        max_positions: usize,
        extra: &[&str],
    ) -> Result<Self, ConfigError> {
        let empty = Map::new();
        // transformers lets `rope_scaling` win where both are there.
        let (key, scaling) = ["rope_scaling", "rope_parameters"]
            .into_iter()
            .find_map(|key| map.get(key).filter(|v| !v.is_null()).map(|v| (key, v)))
            .map_or(Ok(("rope_parameters", &empty)), |(key, v)| {
                v.as_object().map(|o| (key, o)).ok_or_else(|| invalid(key, v, "an object"))
            })?;
        let field = Fields { key, map: scaling };
        for partial in
            [map.get("partial_rotary_factor"), scaling.get("partial_rotary_factor")].into_iter().flatten()
        {
            if !partial.is_null() && partial.as_f64() != Some(1.0) {
                return Err(unsupported("partial_rotary_factor", partial, "only whole heads are rotated"));
            }
        }
        let rope_theta = match scaling.get("rope_theta").or_else(|| map.get("rope_theta")) {
            None | Some(Value::Null) => 10_000.0,
            Some(v) => v
                .as_f64()
                .filter(|x| x.is_finite() && *x > 0.0)
                .ok_or_else(|| invalid("rope_theta", v, "a number > 0"))?,
        };
        let name = match scaling.get("rope_type").or_else(|| scaling.get("type")) {
            None | Some(Value::Null) => "default",
            Some(v) => v.as_str().ok_or_else(|| invalid(&format!("{key}.rope_type"), v, "a string"))?,
        };
        let original = match map
            .get("original_max_position_embeddings")
            .or_else(|| scaling.get("original_max_position_embeddings"))
        {
            None | Some(Value::Null) => max_positions as f64,
            Some(v) => v
                .as_f64()
                .filter(|x| *x >= 1.0)
                .ok_or_else(|| invalid("original_max_position_embeddings", v, "a number >= 1"))?,
        };
        let implied_factor = max_positions as f64 / original;
        let kind = match name {
            "default" => RopeKind::Default,
            "linear" => RopeKind::Linear { factor: field.required("factor")? },
            "dynamic" => RopeKind::Dynamic { factor: field.required("factor")? },
            "llama3" => {
                let (low, high) = (field.required("low_freq_factor")?, field.required("high_freq_factor")?);
                if high <= low {
                    return Err(invalid(
                        &format!("{key}.high_freq_factor"),
                        &high.into(),
                        &format!("more than low_freq_factor = {low}"),
                    ));
                }
                RopeKind::Llama3 {
                    factor: field.required("factor")?,
                    low_freq_factor: low,
                    high_freq_factor: high,
                    original_max_position_embeddings: original,
                }
            }
            "yarn" => {
                let factor = field.required("factor")?;
                let attention_factor = match (
                    field.optional("attention_factor")?,
                    field.optional("mscale")?,
                    field.optional("mscale_all_dim")?,
                ) {
                    (Some(given), _, _) => given,
                    (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                        yarn_mscale(factor, m) / yarn_mscale(factor, all)
                    }
                    _ => yarn_mscale(factor, 1.0),
                };
                let nonzero = |x: Option<f64>, default: f64| x.filter(|x| *x != 0.0).unwrap_or(default);
                RopeKind::Yarn {
                    factor,
                    attention_factor,
                    beta_fast: nonzero(field.optional("beta_fast")?, 32.0),
                    beta_slow: nonzero(field.optional("beta_slow")?, 1.0),
                    truncate: scaling.get("truncate").and_then(Value::as_bool).unwrap_or(true),
                    original_max_position_embeddings: original,
                }
            }
            "longrope" => {
                let factor = field.optional("factor")?.unwrap_or(implied_factor);
                let derived = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
                RopeKind::LongRope {
                    short_factor: field.list("short_factor", head_dim / 2)?,
                    long_factor: field.list("long_factor", head_dim / 2)?,
                    attention_factor: field.optional("attention_factor")?.unwrap_or(derived),
                    original_max_position_embeddings: original,
                }
            }
            other => {
                return Err(unsupported(
                    &format!("{key}.rope_type"),
                    &other.into(),
                    "known are default, linear, dynamic, llama3, yarn, longrope",
                ));
            }
        };
        field.refuse_unknown(extra)?;
        Ok(RopeParameters { rope_theta, kind, factors: None })
    }

    /// Inverse frequencies as the constructor computes them, f32, `[D / 2]`.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f32> {
        self.inv_freq_for(head_dim, false)
    }

    /// Inverse frequencies that the forward pass computes for a sequence of `tokens`, if it does:
    /// beyond `max_positions` with dynamic scaling, beyond the original context length with
    /// LongRoPE.
    pub fn inv_freq_in_forward(
        &self,
        head_dim: usize,
        max_positions: usize,
        tokens: usize,
    ) -> Option<Vec<f32>> {
        match &self.kind {
            RopeKind::Dynamic { factor } if tokens > max_positions => {
                // The sequence length is a tensor here, so that this runs in f32 throughout.
                let grown = (*factor as f32 * tokens as f32) / max_positions as f32 - (factor - 1.0) as f32;
                let exponent = head_dim as f64 / (head_dim as f64 - 2.0);
                // One number to a Python number: the exponent is not rounded.
                let base = self.rope_theta as f32 * (f64::from(grown).powf(exponent) as f32);
                Some(self.divided(powers(f64::from(base), head_dim).map(|p| 1.0 / p).collect()))
            }
            RopeKind::LongRope { original_max_position_embeddings, .. }
                if tokens as f64 > *original_max_position_embeddings =>
            {
                Some(self.inv_freq_for(head_dim, true))
            }
            _ => None,
        }
    }

    /// Factor on cos and sin (`attention_scaling`), 1 for most types.
    pub fn attention_scaling(&self) -> f64 {
        match self.kind {
            RopeKind::Yarn { attention_factor, .. } | RopeKind::LongRope { attention_factor, .. } => {
                attention_factor
            }
            _ => 1.0,
        }
    }

    /// How far beyond `max_position_embeddings` a sequence may go: as far as it likes with dynamic
    /// scaling, which exists to go beyond it.
    pub fn growth(&self) -> f64 {
        match self.kind {
            RopeKind::Dynamic { .. } => f64::INFINITY,
            _ => 1.0,
        }
    }

    fn inv_freq_for(&self, head_dim: usize, long: bool) -> Vec<f32> {
        let powers = powers(self.rope_theta, head_dim);
        let plain = powers.clone().map(|p| 1.0 / p);
        let computed = match &self.kind {
            RopeKind::Default | RopeKind::Dynamic { .. } => plain.collect(),
            RopeKind::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
            RopeKind::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: old,
            } => plain.map(|f| llama3(f, *factor, *low_freq_factor, *high_freq_factor, *old)).collect(),
            RopeKind::Yarn {
                factor,
                beta_fast,
                beta_slow,
                truncate,
                original_max_position_embeddings: old,
                ..
            } => {
                let (low, high) =
                    yarn_range(head_dim, self.rope_theta, *old, *beta_fast, *beta_slow, *truncate);
                powers
                    .enumerate()
                    .map(|(k, p)| {
                        let ramp = ((k as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                        let extrapolation = 1.0 - ramp;
                        (1.0 / (*factor as f32 * p)) * (1.0 - extrapolation) + (1.0 / p) * extrapolation
                    })
                    .collect()
            }
            RopeKind::LongRope { short_factor, long_factor, .. } => {
                let factors = if long { long_factor } else { short_factor };
                powers.zip(factors).map(|(p, f)| 1.0 / (f * p)).collect()
            }
        };
        self.divided(computed)
    }

    fn divided(&self, mut inv_freq: Vec<f32>) -> Vec<f32> {
        if let Some(factors) = &self.factors {
            for (f, factor) in inv_freq.iter_mut().zip(factors) {
                *f /= factor;
            }
        }
        inv_freq
    }
}

/// `base ^ (2k / D)` for each pair of a head, as PyTorch's f32 `pow` gives it: whole vectors of 32
/// by its vectorised code, the rest by glibc's, which is the nearest f32.
fn powers(base: f64, head_dim: usize) -> impl Iterator<Item = f32> + Clone {
    let whole = head_dim / 2 / 32 * 32;
    (0..head_dim / 2).map(move |k| {
        let exponent = (2 * k) as f32 / head_dim as f32;
        if k < whole { pow(base as f32, exponent) } else { power(base, exponent) }
    })
}

/// `base ^ exponent`: the base is rounded to f32, the result once.
fn power(base: f64, exponent: f32) -> f32 {
    f64::from(base as f32).powf(f64::from(exponent)) as f32
}

fn llama3(f: f32, factor: f64, low: f64, high: f64, old: f64) -> f32 {
    // A number over a tensor is its reciprocal times the number.
    let wavelength = 1.0 / f * (2.0 * std::f64::consts::PI) as f32;
    let (low_wavelength, high_wavelength) = ((old / low) as f32, (old / high) as f32);
    let scaled = if wavelength > low_wavelength { f / factor as f32 } else { f };
    if wavelength < high_wavelength || wavelength > low_wavelength {
        return scaled;
    }
    let smooth = (1.0 / wavelength * old as f32 - low as f32) / (high - low) as f32;
    (1.0 - smooth) * scaled / factor as f32 + smooth * scaled
}

fn yarn_mscale(scale: f64, mscale: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * mscale * scale.ln() + 1.0 }
}

/// First and last index of the ramp, in f64 as Python computes it.
fn yarn_range(head_dim: usize, base: f64, old: f64, fast: f64, slow: f64, truncate: bool) -> (f64, f64) {
    let dim = head_dim as f64;
    let index =
        |rotations: f64| (dim * (old / (rotations * 2.0 * std::f64::consts::PI)).ln()) / (2.0 * base.ln());
    let (mut low, mut high) = (index(fast), index(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, high) = (low.max(0.0), high.min(dim - 1.0));
    (low, if low == high { high + 0.001 } else { high })
}

/// The object that holds the rope fields, and the key it was found under, for errors.
struct Fields<'a> {
    key: &'a str,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn optional(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => v
                .as_f64()
                .filter(|x| x.is_finite() && *x >= 0.0)
                .map(Some)
                .ok_or_else(|| invalid(&format!("{}.{name}", self.key), v, "a number >= 0")),
        }
    }

    fn required(&self, name: &str) -> Result<f64, ConfigError> {
        let key = || format!("{}.{name}", self.key);
        match self.optional(name)? {
            None => Err(ConfigError::Missing(key())),
            Some(0.0) => Err(invalid(&key(), &self.map[name], "a number > 0")),
            Some(x) => Ok(x),
        }
    }

    fn list(&self, name: &str, len: usize) -> Result<Vec<f32>, ConfigError> {
        let value = self.map.get(name).ok_or_else(|| ConfigError::Missing(format!("{}.{name}", self.key)))?;
        let numbers: Option<Vec<f32>> =
            value.as_array().and_then(|a| a.iter().map(|v| v.as_f64().map(|x| x as f32)).collect());
        numbers.filter(|v| v.len() == len).ok_or_else(|| {
            invalid(
                &format!("{}.{name}", self.key),
                value,
                &format!("a list of {len} numbers (head_dim / 2)"),
            )
        })
    }

    fn refuse_unknown(&self, extra: &[&str]) -> Result<(), ConfigError> {
        const KNOWN: &str = "
            rope_type type rope_theta factor attention_factor beta_fast beta_slow mscale mscale_all_dim truncate
            original_max_position_embeddings low_freq_factor high_freq_factor short_factor long_factor
            partial_rotary_factor finetuned
        ";
        let known = |key: &str| KNOWN.split_whitespace().any(|known| known == key) || extra.contains(&key);
        match self.map.iter().find(|(key, _)| !known(key)) {
            Some((k, v)) => Err(unsupported(&format!("{}.{k}", self.key), v, "no rope type reads it")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rope(value: Value) -> RopeParameters {
        RopeParameters::from_config(value.as_object().unwrap(), 64, 8192, &[]).unwrap()
    }

    /// Bits printed by PyTorch for SmolLM2 (theta 1e5, head_dim 64).
    #[test]
    fn smollm2_frequencies_are_pytorchs_bit_for_bit() {
        let golden = [
            0x3f800000u32,
            0x3f32a506,
            0x3ef953cf,
            0x3eadfcff,
            0x3e72d423,
            0x3e297409,
            0x3dec7fd6,
            0x3da50956,
            0x3d6655c2,
            0x3d20bc1d,
            0x3ce054d2,
            0x3c9c8b97,
            0x3c5a7bf2,
            0x3c187705,
            0x3bd4ca15,
            0x3b947dae,
            0x3b4f3e38,
            0x3b109edb,
            0x3ac9d75c,
            0x3a8cd9db,
            0x3a44948c,
            0x3a092e02,
            0x39bf74d7,
            0x39859aa9,
            0x393a7753,
            0x39021f2b,
            0x38b59b1b,
            0x387d75d4,
            0x3830df52,
            0x37f6da96,
            0x37ac431d,
            0x37706b6d,
        ];
        let bits: Vec<u32> =
            rope(json!({"rope_theta": 100000})).inv_freq(64).iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, golden);
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let old = rope(json!({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 4.0}}));
        let new = rope(json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}));
        assert_eq!(old, new);
        assert_eq!(old.inv_freq(64)[0], 0.25);
    }

    /// As in transformers, which raises a KeyError for each of the first.
    #[test]
    fn a_kind_without_its_factor_is_refused() {
        for kind in ["linear", "dynamic", "llama3", "yarn"] {
            let with = |factor: Value| {
                let mut map = json!({"rope_type": kind, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
                map["factor"] = factor;
                let config = json!({ "rope_parameters": map });
                RopeParameters::from_config(config.as_object().unwrap(), 64, 8192, &[])
                    .unwrap_err()
                    .to_string()
            };
            assert!(with(Value::Null).contains("lacks `rope_parameters.factor`"), "{kind}");
            assert!(
                with(json!(0.0)).contains("`rope_parameters.factor` is 0.0, expected a number > 0"),
                "{kind}"
            );
        }
    }

    #[test]
    fn dynamic_acts_only_beyond_the_trained_context() {
        let dynamic = rope(json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}));
        assert_eq!(dynamic.inv_freq_in_forward(64, 8192, 8192), None);
        let grown = dynamic.inv_freq_in_forward(64, 8192, 9000).unwrap();
        assert!(grown[31] < dynamic.inv_freq(64)[31]);
        assert_eq!(grown[0], 1.0);
    }
}
