//! A model written in another form that computes the same: biases of zeros where there are none, each key and value head as often
//! as query heads read it.

use ulpscope_floats::{DType, Floats};
use ulpscope_llama::LlamaConfig;

use crate::StoredTensor;

/// How a checkpoint is seen, where that is not as it is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// Biases that are not stored, with their lengths.
    zeros: Vec<(String, usize)>,
    /// How often each head of keys and values is there; 0 stands for once.
    repeats: usize,
    /// Width of a head.
    head_dim: usize,
}

impl Form {
    /// Writes `config` in the form of `other` where that is the same model, and says what was done, a sentence each.
    pub(crate) fn like(config: &mut LlamaConfig, other: &LlamaConfig) -> (Self, Vec<String>) {
        let before: Vec<String> = config.parameters().into_iter().map(|(name, _)| name).collect();
        let mut said = Vec::new();
        let mut form = Form { head_dim: config.head_dim, ..Form::default() };
        let (own, wanted) = (config.num_key_value_heads, other.num_key_value_heads);
        let same_heads = config.num_attention_heads == other.num_attention_heads
            && config.head_dim == other.head_dim
            && config.hidden_size == other.hidden_size;
        if same_heads && wanted > own && wanted.is_multiple_of(own) {
            (config.num_key_value_heads, form.repeats) = (wanted, wanted / own);
            said.push(format!(
                "each of its {own} heads of keys and values is written {} times",
                form.repeats
            ));
        }
        if other.attention_bias && !config.attention_bias {
            config.attention_bias = true;
            said.push("its attention has no biases; they are taken as zeros".to_owned());
        }
        if other.mlp_bias && !config.mlp_bias {
            config.mlp_bias = true;
            said.push("its MLP has no biases; they are taken as zeros".to_owned());
        }
        let new = config.parameters().into_iter().filter(|(name, _)| !before.contains(name));
        form.zeros = new.map(|(name, shape)| (name, shape.iter().product())).collect();
        (form, said)
    }

    /// A parameter that is not stored.
    pub(crate) fn absent(&self, name: &str, dtype: DType) -> Option<StoredTensor<'static>> {
        let (_, len) = self.zeros.iter().find(|(absent, _)| absent == name)?;
        let values = Floats::from(vec![0.0f32; *len]).cast(dtype);
        Some(StoredTensor { name: name.to_owned(), shape: vec![*len], stored: "absent".to_owned(), values })
    }

    /// A parameter as it is stored, in this form.
    pub(crate) fn written<'a>(&self, mut tensor: StoredTensor<'a>) -> StoredTensor<'a> {
        let of_keys = [".k_proj.", ".v_proj."].iter().any(|layer| tensor.name.contains(layer));
        if self.repeats < 2 || !of_keys {
            return tensor;
        }
        let columns: usize = tensor.shape[1..].iter().product();
        let head = self.head_dim * columns;
        let repeated = (0..tensor.values.len() * self.repeats)
            .map(|i| tensor.values.get(i / (head * self.repeats) * head + i % head));
        tensor.values = Floats::from(repeated.collect::<Vec<f64>>()).cast(tensor.values.dtype());
        tensor.shape[0] *= self.repeats;
        tensor
    }
}
