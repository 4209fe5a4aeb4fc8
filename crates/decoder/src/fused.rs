//! A block as one kernel, if no probe looks into it.

use burn::tensor::Tensor;
use ulpscope_floats::Floats;
use ulpscope_kernels::{Attention as Shape, DecoderLayer, Mixing, Projection, bridge, handles};

use crate::activation::Activation;
use crate::arithmetic::Arithmetic;
use crate::attention::usual_scale;
use crate::block::{Block, Module};
use crate::layer::{Attention, FeedForward, Layer};
use crate::node::{Branch, Node, Op, Source};
use crate::norm::RmsNorm;
use crate::rotary::Tables;
use crate::site::AttentionKind;

/// What a kernel needs of a block.
pub(crate) struct Fused<'a> {
    /// q, k, v, o, gate, up, down.
    linear: [Projection<'a>; 7],
    /// Before attention, before the feed-forward layer.
    norms: [Floats<'static>; 2],
    /// Of the heads of queries and keys.
    head_norms: Option<[Floats<'static>; 2]>,
    eps: f64,
    attention: Shape,
    mixing: Mixing,
}

impl Block {
    /// The block as one kernel, which has the bits of its nodes one after the other; `None` if it
    /// is not what the kernel knows: on this machine, in up to 32 bits, of the usual nodes, with
    /// SiLU and without departures.
    pub(crate) fn fusing(
        &self,
        layer: &Layer,
        x: &Tensor<3>,
        tables: &Tables,
        arithmetic: Arithmetic,
    ) -> Option<Fused<'_>> {
        let Attention { heads, groups, head_dim, bias, qk_norm, mask, .. } = layer.attention;
        let plain = Attention { bias, qk_norm, mask, ..Attention::new(heads, groups, head_dim) };
        let FeedForward { width, bias, .. } = layer.feed_forward;
        let gated = FeedForward { bias, ..FeedForward::new(width, Activation::Silu) };
        let known = (layer.attention, layer.feed_forward) == (plain, gated)
            && layer.norm.kind.is_none()
            && layer.residual.is_none();
        if !known || !handles(x) || x.dims()[0] != 1 {
            return None;
        }
        let window = mask.window()?;
        let (places, rope) = (Places::of(layer.nodes())?, tables.ropes.first()?);
        let norms = |places: [usize; 2]| {
            let [first, second] = places.map(|place| self.norm(place));
            let both = [first?, second?];
            both.iter()
                .all(|norm| norm.weight.dtype() == x.dtype())
                .then(|| both.map(|n| bridge::floats(&n.weight)))
        };
        if [rope.cos.dtype(), rope.sin.dtype()] != [x.dtype(); 2] {
            return None;
        }
        let [q, k, v, o, gate, up, down] = places.linear.map(|place| self.projection(place));
        let order = arithmetic.accumulation;
        Some(Fused {
            linear: [q?, k?, v?, o?, gate?, up?, down?],
            norms: norms(places.norms)?,
            head_norms: match places.head_norms {
                Some(places) => Some(norms(places)?),
                None => None,
            },
            eps: layer.norm.eps,
            attention: Shape { heads, groups, head_dim, scale: usual_scale(head_dim), order, window },
            mixing: match arithmetic.attention {
                AttentionKind::Eager => Mixing::Eager,
                AttentionKind::Sdpa => Mixing::Sdpa,
            },
        })
    }

    fn norm(&self, place: usize) -> Option<&RmsNorm> {
        match &self.modules[place] {
            Some(Module::Norm(norm)) => Some(norm),
            _ => None,
        }
    }

    fn projection(&self, place: usize) -> Option<Projection<'_>> {
        match &self.modules[place] {
            Some(Module::Linear(linear)) => linear.projection(),
            _ => None,
        }
    }
}

impl Fused<'_> {
    /// Runs the kernel.
    ///
    /// # Shapes
    /// - `x`: `[1, T, C]`, returns the same
    pub(crate) fn forward(&self, x: Tensor<3>, tables: &Tables) -> Tensor<3> {
        let ([q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj], rope) =
            (self.linear, &tables.ropes[0]);
        let [q_norm, k_norm] = [0, 1].map(|i| self.head_norms.as_ref().map(|norms| norms[i].view()));
        let layer = DecoderLayer {
            input_layernorm: &self.norms[0],
            q_proj,
            k_proj,
            v_proj,
            q_norm: q_norm.as_ref(),
            k_norm: k_norm.as_ref(),
            o_proj,
            post_attention_layernorm: &self.norms[1],
            gate_proj,
            up_proj,
            down_proj,
            rms_norm_eps: self.eps,
            attention: self.attention,
            mixing: self.mixing,
            order: self.attention.order,
        };
        let (cos, sin) = (rope.cos.to_data(), rope.sin.to_data());
        let (shape, device) = (x.dims(), x.device());
        let y = layer.forward(bridge::into_floats(x), &bridge::view(&cos), &bridge::view(&sin));
        let y = y.unwrap_or_else(|error| panic!("a layer was put together wrongly: {error}"));
        bridge::tensor(y, shape, &device)
    }
}

/// Where the nodes are that the kernel knows.
struct Places {
    linear: [usize; 7],
    norms: [usize; 2],
    head_norms: Option<[usize; 2]>,
}

impl Places {
    /// Finds them from the block's output back; `None` if one reads something else.
    fn of(nodes: &[Node]) -> Option<Self> {
        let source = |place: usize, i: usize, op: Op| match nodes[place].reads.get(i)? {
            Source::Node(source) => (nodes[*source].op == op).then_some(*source),
            Source::Input => None,
        };
        let output =
            nodes.len().checked_sub(1).filter(|&last| nodes[last].op == Op::Add(Branch::FeedForward))?;
        let (mid, down) = (source(output, 0, Op::Add(Branch::Attention))?, source(output, 1, Op::Linear)?);
        let product = source(down, 0, Op::Mul)?;
        let (act, up) = (source(product, 0, Op::Act)?, source(product, 1, Op::Linear)?);
        let gate = source(act, 0, Op::Linear)?;
        let second = source(gate, 0, Op::Norm)?;
        let o = source(mid, 1, Op::Linear)?;
        let context = source(o, 0, Op::Mix)?;
        let (probs, v) = (source(context, 0, Op::Softmax)?, source(context, 1, Op::Linear)?);
        let scores = source(probs, 0, Op::Scores)?;
        let rotated = |i: usize| {
            let rope = source(scores, i, Op::Rope(0))?;
            let norm = source(rope, 0, Op::Norm);
            Some((source(norm.unwrap_or(rope), 0, Op::Linear)?, norm))
        };
        let ((q, q_norm), (k, k_norm)) = (rotated(0)?, rotated(1)?);
        let head_norms = match (q_norm, k_norm) {
            (None, None) => None,
            (Some(q), Some(k)) => Some([q, k]),
            _ => return None,
        };
        let first = source(q, 0, Op::Norm)?;
        let reads = |place: usize| &nodes[place].reads;
        let fits = reads(up) == reads(gate)
            && reads(second) == &[Source::Node(mid)]
            && [k, v].iter().all(|&place| reads(place) == reads(q))
            && [reads(mid)[0], reads(first)[0]] == [Source::Input; 2];
        fits.then_some(Places { linear: [q, k, v, o, gate, up, down], norms: [first, second], head_norms })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use ulpscope_floats::DType;
    use ulpscope_kernels::Accumulation;

    use super::*;
    use crate::departure::Mask;
    use crate::parameters::Parameters;
    use crate::rotary::RotaryTables;
    use crate::testing::{DTYPES, architecture, flips, noise};

    /// Parameters that differ from each other.
    struct Noise {
        dtype: DType,
        seed: u64,
    }

    impl Parameters for Noise {
        type Error = std::convert::Infallible;

        fn tensor<const D: usize>(&mut self, _: &str, shape: [usize; D]) -> Result<Tensor<D>, Self::Error> {
            self.seed += 1;
            Ok(noise(shape, self.seed, self.dtype))
        }
    }

    #[test]
    fn one_kernel_has_the_bits_of_its_nodes() {
        let plain = Attention { bias: [true; 2], ..Attention::new(4, 2, 16) };
        let window = Mask::Window(NonZeroUsize::new(20).unwrap());
        let normed = Attention { qk_norm: true, mask: window, ..Attention::new(4, 2, 16) };
        // Threads take stretches of tokens apart where there are enough for all of them.
        for (threads, lengths) in [(1, &[1, 300][..]), (3, &[1, 3, 16, 37, 200]), (16, &[800])] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for dtype in DTYPES {
                for &tokens in lengths {
                    pool.install(|| [plain, normed].map(|attention| compare(attention, dtype, tokens)));
                }
            }
        }
    }

    fn compare(attention: Attention, dtype: DType, tokens: usize) {
        let feed_forward = FeedForward { bias: true, ..FeedForward::new(100, Activation::Silu) };
        let of = architecture(48, attention, feed_forward);
        let block = Block::new(&of, 0, &mut Noise { dtype, seed: 0 }).unwrap();
        let rope =
            RotaryTables { cos: noise([1, tokens, 16], 77, dtype), sin: noise([1, tokens, 16], 78, dtype) };
        let tables = Tables { ropes: vec![rope], positions: (0..tokens).map(|i| i as f64).collect() };
        let x: Tensor<3> = noise([1, tokens, 48], 99, dtype);
        for accumulation in [Accumulation::Tile32, Accumulation::Dot2, Accumulation::Pairwise] {
            for kind in [AttentionKind::Eager, AttentionKind::Sdpa] {
                let arithmetic = Arithmetic { accumulation, ..kind.into() };
                let layer = of.layers[0].clone();
                let fused = block.fusing(&layer, &x, &tables, arithmetic).expect("the kernel knows it");
                let fused = fused.forward(x.clone(), &tables);
                let steps = block.steps(&of, layer, x.clone(), &tables, arithmetic, None, &mut ());
                assert_eq!(flips(&fused, &steps), 0, "{dtype} {tokens} {accumulation} {kind}");
            }
        }
    }
}
