//! A whole decoder layer as one operation.

use std::cell::RefCell;
use std::sync::Mutex;
use std::thread::LocalKey;

use ulpscope_floats::{Floats, bf16, f16};

use crate::attention::Attention;
use crate::element::{Element, expect, expect_rows, with_element};
use crate::gate::gated;
use crate::linear::{Projection, products};
use crate::norm::{normalise, normalise_in_place};
use crate::pairs::add_to;
use crate::range::Bits;
use crate::rotary::turn;
use crate::spin_pool::{SpinPool, for_each_item};
use crate::{Accumulation, KernelError, Path};

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixing {
    /// As [`attention_eager`](crate::attention_eager).
    Eager,
    /// As [`attention_sdpa`](crate::attention_sdpa).
    Sdpa,
}

/// A decoder layer: attention and a gated feed-forward layer with SiLU, each behind a norm and
/// added to what it was given.
///
/// Llama has such layers. Mistral's also have a window ([`Attention::window`]), and Qwen3's a norm
/// for each head.
///
/// C is the width of the residual stream, F that between the feed-forward layer's products; H, G
/// and D are [`Attention`]'s.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLayer<'a> {
    /// `[C]`.
    pub input_layernorm: &'a Floats<'a>,
    /// `[H·D, C]`.
    pub q_proj: Projection<'a>,
    /// `[G·D, C]`.
    pub k_proj: Projection<'a>,
    /// `[G·D, C]`.
    pub v_proj: Projection<'a>,
    /// `[D]`: the norm of each head of the queries, between projection and rotation.
    pub q_norm: Option<&'a Floats<'a>>,
    /// `[D]`: the same of the keys.
    pub k_norm: Option<&'a Floats<'a>>,
    /// `[C, H·D]`.
    pub o_proj: Projection<'a>,
    /// `[C]`.
    pub post_attention_layernorm: &'a Floats<'a>,
    /// `[F, C]`.
    pub gate_proj: Projection<'a>,
    /// `[F, C]`.
    pub up_proj: Projection<'a>,
    /// `[C, F]`.
    pub down_proj: Projection<'a>,
    /// ε of all norms.
    pub rms_norm_eps: f64,
    /// Heads, their scale, the order of summation of attention, and its window.
    pub attention: Attention,
    /// How attention is computed.
    pub mixing: Mixing,
    /// The order of summation of all projections.
    pub order: Accumulation,
}

impl DecoderLayer<'_> {
    /// The output of the layer, in the place of its input.
    ///
    /// # Shapes
    /// - `x`: `[T, C]`, any T; `cos`, `sin`: `[T, D]`; returns `[T, C]`
    ///
    /// # Precision
    /// Bit for bit what the operations give one after the other: [`rms_norm`](crate::rms_norm),
    /// [`linear`](crate::linear()), `rms_norm` of each head, [`rotary`](crate::rotary()),
    /// attention, [`add`](crate::add), [`silu_up`](crate::silu_up), each rounded to the format that
    /// all share.
    ///
    /// # Errors
    /// If formats or lengths do not fit together.
    pub fn forward(
        &self,
        x: Floats<'static>,
        cos: &Floats,
        sin: &Floats,
    ) -> Result<Floats<'static>, KernelError> {
        let path = Path::detect()?;
        self.check()?;
        let (width, head_dim) = (self.input_layernorm.len(), self.attention.head_dim);
        expect_rows(&x, width, "x")?;
        let tokens = x.len() / width;
        with_element!(x.dtype(), "x", T => {
            let mut x = T::take(x)?;
            if tokens > 0 {
                let cos = expect::<T>(cos, tokens * head_dim, "cos")?;
                let sin = expect::<T>(sin, tokens * head_dim, "sin")?;
                SpinPool::scope(|| with_workspace(|workspace| self.run(path, &mut x, [cos, sin], workspace)))?;
            }
            Ok(T::wrap(x))
        })
    }

    /// Whether the weights fit together.
    fn check(&self) -> Result<(), KernelError> {
        self.attention.check()?;
        let Attention { heads, groups, head_dim, .. } = self.attention;
        if head_dim % 2 == 1 {
            return Err(KernelError::Rows { what: "a head", row: 2, got: head_dim });
        }
        let width = self.input_layernorm.len();
        let inner = self.gate_proj.weight.outputs();
        let (queries, keys) = (heads * head_dim, groups * head_dim);
        let shapes = [
            ("q_proj", self.q_proj, queries, width),
            ("k_proj", self.k_proj, keys, width),
            ("v_proj", self.v_proj, keys, width),
            ("o_proj", self.o_proj, width, queries),
            ("gate_proj", self.gate_proj, inner, width),
            ("up_proj", self.up_proj, inner, width),
            ("down_proj", self.down_proj, width, inner),
        ];
        for (what, projection, outputs, inputs) in shapes {
            projection.check()?;
            for (expected, got) in
                [(outputs, projection.weight.outputs()), (inputs, projection.weight.inputs())]
            {
                if expected != got {
                    return Err(KernelError::Length { what, expected, got });
                }
            }
        }
        let norms = [
            ("post_attention_layernorm", Some(self.post_attention_layernorm), width),
            ("q_norm", self.q_norm, head_dim),
            ("k_norm", self.k_norm, head_dim),
        ];
        for (what, norm, expected) in norms {
            let got = norm.map_or(expected, Floats::len);
            if got != expected {
                return Err(KernelError::Length { what, expected, got });
            }
        }
        Ok(())
    }

    fn run<T: LayerFormat>(
        &self,
        path: Path,
        x: &mut [T],
        [cos, sin]: [&[T]; 2],
        workspace: &mut Workspace<T>,
    ) -> Result<(), KernelError> {
        let width = self.input_layernorm.len();
        let tokens = x.len() / width;
        let Attention { heads, groups, head_dim, .. } = self.attention;
        let (queries, keys) = (heads * head_dim, groups * head_dim);
        let norm = |weight, name, x: &[T], out: &mut [T]| {
            expect::<T>(weight, width, name).map(|weight| normalise(path, x, weight, self.rms_norm_eps, out))
        };
        let Workspace([mixed, q, k, v]) = workspace;
        let mixed = first_values(mixed, tokens * queries);
        let (q, k, v) = (
            first_values(q, tokens * queries),
            first_values(k, tokens * keys),
            first_values(v, tokens * keys),
        );

        // Only attention mixes tokens.
        let chunks = TokenChunks::of(path, tokens);
        let cut = |row: usize| chunks.tokens * row;
        let inputs = x.chunks(cut(width)).zip(cos.chunks(cut(head_dim)).zip(sin.chunks(cut(head_dim))));
        let outputs = q.chunks_mut(cut(queries)).zip(k.chunks_mut(cut(keys)).zip(v.chunks_mut(cut(keys))));
        chunks.for_each(inputs.zip(outputs), |((x, (cos, sin)), (q, (k, v))), Workspace([normed, ..])| {
            let normed = first_values(normed, x.len());
            norm(self.input_layernorm, "input_layernorm", x, normed)?;
            let projections = [self.q_proj, self.k_proj, self.v_proj];
            products(path, normed, &projections, self.order, &mut [&mut *q, &mut *k, v])?;
            for (norm, what, heads) in [(self.q_norm, "q_norm", &mut *q), (self.k_norm, "k_norm", &mut *k)] {
                if let Some(norm) = norm {
                    let weight = expect::<T>(norm, head_dim, what)?;
                    normalise_in_place(path, heads, weight, self.rms_norm_eps);
                }
            }
            turn(path, [q, k], [cos, sin], head_dim);
            Ok(())
        })?;
        match self.mixing {
            Mixing::Eager => self.attention.eager(path, [q, k, v], mixed),
            Mixing::Sdpa => self.attention.sdpa(path, [q, k, v], mixed),
        }
        let streams = x.chunks_mut(cut(width)).zip(mixed.chunks(cut(queries)));
        chunks.for_each(streams, |(x, mixed), Workspace([normed, gate, up, ..])| {
            let normed = first_values(normed, x.len());
            products(path, mixed, &[self.o_proj], self.order, &mut [&mut *normed])?;
            add_to(path, x, normed);
            norm(self.post_attention_layernorm, "post_attention_layernorm", x, normed)?;
            let inner = x.len() / width * self.gate_proj.weight.outputs();
            let (gate, up) = (first_values(gate, inner), first_values(up, inner));
            let projections = [self.gate_proj, self.up_proj];
            products(path, normed, &projections, self.order, &mut [&mut *gate, &mut *up])?;
            gated(path, gate, up);
            products(path, gate, &[self.down_proj], self.order, &mut [&mut *normed])?;
            add_to(path, x, normed);
            Ok(())
        })
    }
}

/// Splits tokens into chunks for the operations between two attentions.
struct TokenChunks {
    /// The length of a chunk.
    tokens: usize,
    /// One thread takes a chunk through all operations, so that its values stay in that thread's
    /// cache and no thread waits. Otherwise all threads share every operation.
    one_thread_each: bool,
}

impl TokenChunks {
    fn of(path: Path, tokens: usize) -> Self {
        /// Tokens of the longest chunk, if all threads share it. It keeps every kernel busy, and
        /// results between products stay small.
        const MAX_TOKENS_SHARED: usize = 768;
        /// Tokens of the longest chunk, if one thread has it.
        const MAX_TOKENS_OF_ONE_THREAD: usize = 256;
        // With a chunk of its own each thread reads all weights. That pays from about as many
        // tokens on; AMX is so fast that it takes more.
        let least = if path == Path::AmxBf16 { 256 } else { 64 };
        let threads = rayon::current_num_threads();
        let one_thread_each = tokens >= least * threads;
        let (share, longest) = if one_thread_each {
            (tokens.div_ceil(threads), MAX_TOKENS_OF_ONE_THREAD)
        } else {
            (tokens, MAX_TOKENS_SHARED)
        };
        let parts = share.div_ceil(longest).max(1);
        TokenChunks { tokens: share.div_ceil(parts).next_multiple_of(8), one_thread_each }
    }

    /// Calls `work` for each chunk, with a workspace.
    fn for_each<T: LayerFormat, I: Send>(
        &self,
        mut chunks: impl Iterator<Item = I>,
        work: impl Fn(I, &mut Workspace<T>) -> Result<(), KernelError> + Sync,
    ) -> Result<(), KernelError> {
        if !self.one_thread_each {
            return chunks.try_for_each(|chunk| with_workspace(|workspace| work(chunk, workspace)));
        }
        let result = Mutex::new(Ok(()));
        for_each_item(chunks, |chunk| {
            if let Err(error) = with_workspace(|workspace| work(chunk, workspace)) {
                *result.lock().expect("nothing panics while it is held") = Err(error);
            }
        });
        result.into_inner().expect("nothing panics while it is held")
    }
}

/// The first `len` values of a buffer, for the caller to overwrite.
fn first_values<T: Element>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len {
        buffer.resize(len, T::ZERO);
    }
    &mut buffer[..len]
}

/// Results between the operations of a layer. The next layer reuses it, because allocating it anew
/// is slow.
#[derive(Default)]
struct Workspace<T>([Vec<T>; 4]);

/// Formats that a layer runs in.
trait LayerFormat: Element + Default {
    /// The workspaces that this thread has kept.
    fn workspaces() -> &'static LocalKey<RefCell<Vec<Workspace<Self>>>>;

    /// The numbers, owned.
    fn take(x: Floats<'static>) -> Result<Vec<Self>, KernelError>;
}

/// Calls `f` with a workspace that nobody else uses meanwhile.
fn with_workspace<T: LayerFormat, R>(f: impl FnOnce(&mut Workspace<T>) -> R) -> R {
    let mut workspace = T::workspaces().with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = f(&mut workspace);
    T::workspaces().with_borrow_mut(|kept| kept.push(workspace));
    result
}

macro_rules! layer_formats {
    ($t:ty, $variant:ident) => {
        impl LayerFormat for $t {
            fn workspaces() -> &'static LocalKey<RefCell<Vec<Workspace<Self>>>> {
                thread_local! {
                    static WORKSPACES: RefCell<Vec<Workspace<$t>>> = const { RefCell::new(Vec::new()) };
                }
                &WORKSPACES
            }

            fn take(x: Floats<'static>) -> Result<Vec<Self>, KernelError> {
                match x {
                    Floats::$variant(x) => Ok(x.into_owned()),
                    other => Err(KernelError::Mixed {
                        what: "x",
                        expected: <$t as Bits>::DTYPE,
                        got: other.dtype(),
                    }),
                }
            }
        }
    };
}
layer_formats!(f32, F32);
layer_formats!(bf16, Bf16);
layer_formats!(f16, F16);

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use ulpscope_floats::DType;

    use super::*;
    use crate::{PackedWeight, add, attention_eager, attention_sdpa, linear, rms_norm, rotary, silu_up};

    fn wave(n: usize, f: f32, dtype: DType) -> Floats<'static> {
        Floats::from((0..n).map(|i| (i as f32 * f).sin() + (i as f32 * 0.013).cos()).collect::<Vec<_>>())
            .cast(dtype)
    }

    /// C, F, H, G and D.
    const SIZES: [usize; 5] = [32, 40, 4, 2, 8];

    /// Calls `f` with a layer whose heads have norms.
    fn with_layer(dtype: DType, window: Option<NonZeroUsize>, mixing: Mixing, f: impl FnOnce(DecoderLayer)) {
        let [width, inner, heads, groups, head_dim] = SIZES;
        let (queries, keys) = (heads * head_dim, groups * head_dim);
        let weight = |n: usize, k: usize, f| PackedWeight::new(&wave(n * k, f, dtype), n, k).unwrap();
        let [q, k, v] = [(queries, 0.7), (keys, 1.7), (keys, 2.7)].map(|(n, f)| weight(n, width, f));
        let [gate, up] = [3.1, 4.1].map(|f| weight(inner, width, f));
        let [o, down] = [(queries, 1.1), (inner, 2.1)].map(|(k, f)| weight(width, k, f));
        let [input, post] = [0.3, 0.4].map(|f| wave(width, f, dtype));
        let [q_norm, k_norm] = [0.5, 0.6].map(|f| wave(head_dim, f, dtype));
        let order = Accumulation::Dot2;
        f(DecoderLayer {
            input_layernorm: &input,
            q_proj: (&q).into(),
            k_proj: (&k).into(),
            v_proj: (&v).into(),
            q_norm: Some(&q_norm),
            k_norm: Some(&k_norm),
            o_proj: (&o).into(),
            post_attention_layernorm: &post,
            gate_proj: (&gate).into(),
            up_proj: (&up).into(),
            down_proj: (&down).into(),
            rms_norm_eps: 1e-5,
            attention: Attention { heads, groups, head_dim, scale: 0.3, order, window },
            mixing,
            order,
        });
    }

    /// The layer, one operation after the other.
    fn steps(
        layer: &DecoderLayer,
        x: &Floats,
        cos: &Floats,
        sin: &Floats,
    ) -> Result<Floats<'static>, KernelError> {
        let (eps, order, head_dim) = (layer.rms_norm_eps, layer.order, layer.attention.head_dim);
        let project = |x: &Floats, by: Projection| linear(x, by.weight, None, order, x.dtype());
        let normed = rms_norm(x, layer.input_layernorm, eps)?;
        let heads = |by, norm: Option<&Floats>| {
            let x = project(&normed, by)?;
            let x = norm.map_or(Ok(x.clone()), |weight| rms_norm(&x, weight, eps))?;
            rotary(&x, cos, sin, head_dim)
        };
        let (q, k) = (heads(layer.q_proj, layer.q_norm)?, heads(layer.k_proj, layer.k_norm)?);
        let v = project(&normed, layer.v_proj)?;
        let mixed = match layer.mixing {
            Mixing::Eager => attention_eager(&layer.attention, &q, &k, &v)?,
            Mixing::Sdpa => attention_sdpa(&layer.attention, &q, &k, &v)?,
        };
        let x = add(x, &project(&mixed, layer.o_proj)?)?;
        let normed = rms_norm(&x, layer.post_attention_layernorm, eps)?;
        let inner = silu_up(&project(&normed, layer.gate_proj)?, &project(&normed, layer.up_proj)?)?;
        add(&x, &project(&inner, layer.down_proj)?)
    }

    #[test]
    fn a_layer_with_every_option_has_the_bits_of_its_steps() {
        let [width, .., head_dim] = SIZES;
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            for (mixing, window) in [(Mixing::Eager, 5), (Mixing::Sdpa, 5), (Mixing::Sdpa, 600)] {
                with_layer(dtype, NonZeroUsize::new(window), mixing, |layer| {
                    for (threads, tokens) in [(1, 1), (1, 37), (3, 230), (3, 530)] {
                        let x = wave(tokens * width, 0.9, dtype);
                        let [cos, sin] = [0.17, 0.19].map(|f| wave(tokens * head_dim, f, dtype));
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        for (q_norm, k_norm) in
                            [(layer.q_norm, layer.k_norm), (layer.q_norm, None), (None, layer.k_norm)]
                        {
                            let layer = DecoderLayer { q_norm, k_norm, ..layer };
                            let want = steps(&layer, &x, &cos, &sin).unwrap();
                            let got = pool.install(|| layer.forward(x.clone(), &cos, &sin)).unwrap();
                            assert_eq!(got, want, "{dtype} {mixing:?}: {tokens} tokens, window {window}");
                        }
                    }
                });
            }
        }
    }

    #[test]
    fn norms_that_do_not_fit_are_named() {
        let [width, .., head_dim] = SIZES;
        with_layer(DType::Bf16, None, Mixing::Sdpa, |layer| {
            let x = wave(3 * width, 0.9, DType::Bf16);
            let tables = wave(3 * head_dim, 0.2, DType::Bf16);
            let fail =
                |layer: DecoderLayer| layer.forward(x.clone(), &tables, &tables).unwrap_err().to_string();
            let (short, wide) = (wave(7, 0.1, DType::Bf16), wave(head_dim, 0.1, DType::F32));
            assert!(fail(DecoderLayer { q_norm: Some(&short), ..layer }).contains("q_norm has 7"));
            assert!(fail(DecoderLayer { k_norm: Some(&short), ..layer }).contains("k_norm has 7"));
            assert!(fail(DecoderLayer { k_norm: Some(&wide), ..layer }).contains("k_norm is f32"));
        });
    }
}
