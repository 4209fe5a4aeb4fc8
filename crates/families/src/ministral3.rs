//! Ministral 3, its text model: Mistral whose queries are scaled by their positions.

use ulpscope_decoder::{
    ConfigError, Defaults, Family, Gguf, Keys, QueryScale, RopeKind, RopeParameters, TokenizerClass,
    departure::Mask, invalid,
};

use crate::mistral::{self, read};

/// Ministral 3 and what is built like it.
pub(crate) static MINISTRAL3: Family = Family::new(
    "ministral3",
    "Ministral3ForCausalLM",
    Gguf {
        architecture: "mistral3",
        permuted: true,
        keys: &[
            ("attention.temperature_scale", "rope_parameters.llama_4_scaling_beta"),
            // The converter writes one of two factors that are equal in every checkpoint known.
            ("rope.scaling.yarn_log_multiplier", "rope_parameters.mscale"),
            ("rope.scaling.yarn_log_multiplier", "rope_parameters.mscale_all_dim"),
        ],
    },
    |family, keys| {
        keys.allow_in_rope(&[BETA, "max_position_embeddings"]);
        let mut dense = read(keys, &DEFAULTS)?;
        // As in Mistral, every layer has the window.
        keys.get("layer_types");
        let mask = keys.window(None)?.map_or(Mask::Causal, Mask::Window);
        let query_scale = match scale(keys)? {
            Some(scale) => scale,
            None => {
                dense.outside.rope = default_rope();
                QueryScale { beta: 0.1, original: 16384.0 }
            }
        };
        Ok(dense.architecture(family, |_, attention| {
            attention.mask = mask;
            attention.query_scale = Some(query_scale);
        }))
    },
    "PyTorch's bits at every hookable site of tiny checkpoints, both attentions",
)
.tokenizer(TokenizerClass::AsWritten);

const BETA: &str = "llama_4_scaling_beta";

/// The defaults of transformers' `Ministral3Config`.
const DEFAULTS: Defaults = Defaults {
    vocab_size: 131_072,
    head_dim: Some(128),
    max_position_embeddings: 262_144,
    rms_norm_eps: 1e-5,
    ..mistral::DEFAULTS
};

/// How queries are scaled; `None` where config.json has no rotary parameters, whose defaults say
/// it.
fn scale(keys: &Keys) -> Result<Option<QueryScale>, ConfigError> {
    let Some(rope) = ["rope_scaling", "rope_parameters"].into_iter().find(|key| keys.has(key)) else {
        return Ok(None);
    };
    let number = |name: &str, least: f64| {
        let key = || format!("{rope}.{name}");
        let value =
            keys.get(rope).and_then(|rope| rope.get(name)).ok_or_else(|| ConfigError::Missing(key()))?;
        let number = value.as_f64().filter(|x| x.is_finite() && *x >= least);
        number.ok_or_else(|| invalid(&key(), value, &format!("a number >= {least}")))
    };
    let (beta, original) = (number(BETA, 0.0)?, number("original_max_position_embeddings", 1.0)?);
    Ok(Some(QueryScale { beta, original }))
}

/// YaRN as transformers has it where config.json says nothing.
fn default_rope() -> RopeParameters {
    let kind = RopeKind::Yarn {
        factor: 16.0,
        attention_factor: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        original_max_position_embeddings: 16384.0,
    };
    RopeParameters { rope_theta: 1e6, kind, factors: None }
}
