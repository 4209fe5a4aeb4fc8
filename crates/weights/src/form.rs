//! A model written in another form that computes the same: biases of zeros where there are none,
//! each key and value head as often as query heads read it.

use ulpscope_decoder::{Architecture, Attention, FeedForward, Layer};
use ulpscope_floats::{DType, Floats};

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
    /// Parameters whose rows are heads of keys and values.
    keys: Vec<String>,
}

impl Form {
    /// Writes a model in the form of `other` where that is the same model, and says what was done,
    /// a sentence each.
    pub(crate) fn like(of: &mut Architecture, other: &Architecture) -> (Self, Vec<String>) {
        let before: Vec<String> = of.parameters().into_iter().map(|p| p.name).collect();
        let mut said = Vec::new();
        let mut form = Form::default();
        let (Some(own), Some(wanted)) = (of.layers.first(), other.layers.first()) else {
            return (form, said);
        };
        let (mut attention, mut feed_forward) = (own.attention, own.feed_forward);
        let same_heads = attention.heads == wanted.attention.heads
            && attention.head_dim == wanted.attention.head_dim
            && of.width == other.width;
        let (groups, more) = (attention.groups, wanted.attention.groups);
        if same_heads && more > groups && more.is_multiple_of(groups) {
            (attention.groups, form.repeats, form.head_dim) = (more, more / groups, attention.head_dim);
            said.push(format!(
                "each of its {groups} heads of keys and values is written {} times",
                form.repeats
            ));
        }
        let biases = attention.bias.iter().zip(&wanted.attention.bias).any(|(own, wanted)| wanted & !own);
        if biases {
            attention.bias = [0, 1].map(|i| attention.bias[i] | wanted.attention.bias[i]);
            said.push("its attention has no biases; they are taken as zeros".to_owned());
        }
        if wanted.feed_forward.bias && !feed_forward.bias {
            feed_forward.bias = true;
            said.push("its MLP has no biases; they are taken as zeros".to_owned());
        }
        for layer in &mut of.layers {
            let own = Attention { groups: attention.groups, bias: attention.bias, ..layer.attention };
            let feed_forward = FeedForward { bias: feed_forward.bias, ..layer.feed_forward };
            *layer = Layer::new(of.width, own, feed_forward, layer.norm);
        }
        let new = of.parameters().into_iter().filter(|p| !before.contains(&p.name));
        form.zeros = new.map(|p| (p.name, p.param.shape.iter().product())).collect();
        let keys = of.parameters().into_iter().filter(|p| p.param.rows.shared());
        form.keys = keys.map(|p| p.name).collect();
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
        if self.repeats < 2 || !self.keys.contains(&tensor.name) {
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
