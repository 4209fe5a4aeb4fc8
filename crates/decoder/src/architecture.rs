//! The description of a decoder: one value that everything else asks.

use std::sync::Arc;

use ulpscope_floats::DType;

use crate::family::Family;
use crate::layer::{Layer, Norm};
use crate::node::{Along, Branch, NewLinear, Node, Nodes, Op, Param, ParameterKind, Rows, Shape, Source};
use crate::rope::RopeParameters;
use crate::site::{AttentionKind, Part, Site, UnknownSite};

/// A decoder, resolved from its config.json by a family.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Architecture {
    /// The family that read it.
    pub family: &'static Family,
    /// Width of the residual stream, C.
    pub width: usize,
    /// Number of tokens in the vocabulary, V.
    pub vocab: usize,
    /// What embeddings are multiplied by, rounded to the storage dtype first.
    pub embed_scale: Option<f64>,
    /// The blocks.
    pub layers: Vec<Layer>,
    /// The norm behind the blocks.
    pub norm: Norm,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// The rotary embeddings.
    pub ropes: Vec<Rope>,
    /// Longest sequence that the model was made for.
    pub max_positions: usize,
    /// The format that `dtype="auto"` takes.
    pub dtype: Option<DType>,
    /// Keys of config.json that are unknown and were not used.
    pub ignored: Vec<String>,
    stem: Arc<[Node]>,
    head: Arc<[Node]>,
}

/// A rotary embedding: its frequencies, and the buffers that hold them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Names of the two buffers that no state dict holds: the frequencies in use, and as they were
    /// computed.
    pub buffers: [&'static str; 2],
    /// Names of the sites of its cosines and sines.
    pub tables: [&'static str; 2],
    /// Width that is rotated, D.
    pub width: usize,
    /// Base and scaling.
    pub parameters: RopeParameters,
}

/// What the names of all blocks begin with.
const BLOCKS: &str = "model.layers";

/// Sizes and settings that no block has.
#[derive(Clone, Debug)]
pub struct Outside {
    /// V.
    pub vocab: usize,
    /// The norm behind the blocks.
    pub norm: Norm,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// Base and scaling of the rotary embedding.
    pub rope: RopeParameters,
    /// Width that it rotates, D.
    pub head_dim: usize,
    /// Longest sequence that the model was made for.
    pub max_positions: usize,
    /// The format that `dtype="auto"` takes.
    pub dtype: Option<DType>,
}

impl Architecture {
    /// A decoder of these blocks.
    pub fn new(family: &'static Family, width: usize, outside: Outside, layers: Vec<Layer>) -> Self {
        let Outside { vocab, norm, tied, rope, head_dim, max_positions, dtype } = outside;
        let rope = Rope {
            buffers: ["model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"],
            tables: ["model.rotary_emb.cos", "model.rotary_emb.sin"],
            width: head_dim,
            parameters: rope,
        };
        let ropes = vec![rope];
        let mut stem = Nodes::new();
        stem.add("model.embed_tokens", Op::Embed, &[], (Along::Stream, Shape::Rows(width)));
        stem.with("token_embd", &[vocab, width], false, Rows::Plain);
        for (i, rope) in ropes.iter().enumerate() {
            for table in rope.tables {
                stem.add(table, Op::Table(i), &[], (Along::Angles, Shape::Rows(rope.width)));
            }
        }
        let mut head = Nodes::new();
        let reads = head.add("model.norm", Op::Norm, &[Source::Input], (Along::Stream, Shape::Rows(width)));
        head.with("output_norm", &[width], false, Rows::Plain);
        let (along, bias, rows) = (Along::Vocabulary, false, Rows::Plain);
        let shape = [vocab, width];
        head.linear(NewLinear { name: "lm_head", gguf: "output", reads, along, shape, bias, rows });
        Architecture {
            family,
            width,
            vocab,
            embed_scale: None,
            layers,
            norm,
            tied,
            ropes,
            max_positions,
            dtype,
            ignored: Vec::new(),
            stem: stem.finish(),
            head: head.finish(),
        }
    }

    /// The nodes of a part, in forward order.
    ///
    /// # Panics
    /// If the model has no such block.
    pub fn nodes(&self, part: Part) -> &[Node] {
        match part {
            Part::Stem => &self.stem,
            Part::Block(n) => self.layers[n].nodes(),
            Part::Head => &self.head,
        }
    }

    /// The parts, in forward order.
    pub fn parts(&self) -> Vec<Part> {
        Part::all(self.layers.len())
    }

    /// The site of a node.
    ///
    /// # Panics
    /// If the part has no such node.
    pub fn site_of(&self, part: Part, place: usize) -> Site {
        let node = &self.nodes(part)[place];
        Site::new(part, place, (node.name, node.op), BLOCKS)
    }

    /// The sites of a part, in forward order, stored or not.
    pub fn sites_of(&self, part: Part) -> impl Iterator<Item = Site> + '_ {
        (0..self.nodes(part).len()).map(move |place| self.site_of(part, place))
    }

    /// Every site that is stored with this attention, in forward order.
    pub fn sites(&self, attention: AttentionKind) -> Vec<Site> {
        let all = self.parts().into_iter().flat_map(|part| self.sites_of(part));
        all.filter(|site| site.op().exists(attention)).collect()
    }

    /// The site of this name.
    ///
    /// # Errors
    /// [`UnknownSite`] if the model has none.
    pub fn site(&self, name: &str) -> Result<Site, UnknownSite> {
        // Only the canonical spelling: no `model.layers.007`, no trailing dot.
        let mut sites = self.parts_of(name).into_iter().flat_map(|part| self.sites_of(part));
        sites.find(|site| site.to_string() == name).ok_or_else(|| UnknownSite(name.to_owned()))
    }

    /// The parts that can have a site or a parameter of this name.
    fn parts_of(&self, name: &str) -> Vec<Part> {
        let Some(rest) = name.strip_prefix(BLOCKS).and_then(|rest| rest.strip_prefix('.')) else {
            return vec![Part::Stem, Part::Head];
        };
        let number = rest.split_once('.').map_or(rest, |(number, _)| number);
        let block = number.parse().ok().filter(|n| *n < self.layers.len()).map(Part::Block);
        block.into_iter().collect()
    }

    /// The node that a site is of.
    ///
    /// # Panics
    /// If the site is of another model and not of this one.
    pub fn node(&self, site: Site) -> &Node {
        &self.nodes(site.part())[site.place()]
    }

    /// The shape of a site's activation for a prompt of so many tokens.
    pub fn shape(&self, site: Site, tokens: usize) -> Vec<usize> {
        self.node(site).shape.dims(tokens)
    }

    /// The site whose activation a part begins with; the stem begins with ids.
    pub fn begins_with(&self, part: Part) -> Option<Site> {
        let before = match part {
            Part::Stem => return None,
            Part::Block(n) => n,
            Part::Head => self.layers.len(),
        };
        Some(match before.checked_sub(1) {
            None => self.site_of(Part::Stem, 0),
            Some(last) => self.output_of(last),
        })
    }

    /// The site of a block's output.
    pub fn output_of(&self, layer: usize) -> Site {
        self.site_of(Part::Block(layer), self.layers[layer].nodes().len() - 1)
    }

    /// The site of the logits.
    pub fn logits(&self) -> Site {
        self.site_of(Part::Head, self.head.len() - 1)
    }

    /// The sites of the cosines and sines of a rotary embedding.
    pub fn tables(&self, rope: usize) -> [Site; 2] {
        [1, 2].map(|i| self.site_of(Part::Stem, 2 * rope + i))
    }

    /// The sites whose activations a site reads. What is not stored with this attention passes on
    /// what it reads itself.
    pub fn reads(&self, site: Site, attention: AttentionKind) -> Vec<Site> {
        let mut all = Vec::new();
        for source in &self.node(site).reads {
            match *source {
                Source::Input => all.extend(self.begins_with(site.part())),
                Source::Node(place) => {
                    let read = self.site_of(site.part(), place);
                    if read.op().exists(attention) {
                        all.push(read);
                    } else {
                        all.extend(self.reads(read, attention));
                    }
                }
            }
        }
        all
    }

    /// The sites of the same part, and of the next, that read a site.
    pub fn readers(&self, site: Site, attention: AttentionKind) -> Vec<Site> {
        let after = match site.part() {
            Part::Stem => Part::Block(0),
            Part::Block(n) => Part::Block(n + 1),
            Part::Head => Part::Head,
        };
        let after = if after.layer().is_some_and(|n| n >= self.layers.len()) { Part::Head } else { after };
        let mut parts = vec![site.part(), after];
        parts.dedup();
        let all = parts.into_iter().flat_map(|part| self.sites_of(part));
        all.filter(|&other| other.op().exists(attention) && self.reads(other, attention).contains(&site))
            .collect()
    }

    /// Every parameter of the model, in the order of PyTorch's state dict. A tied output layer is
    /// not listed.
    pub fn parameters(&self) -> Vec<Parameter<'_>> {
        self.parts().into_iter().flat_map(|part| self.parameters_of(part)).collect()
    }

    /// The parameters of a part, in the order of PyTorch's state dict.
    pub fn parameters_of(&self, part: Part) -> Vec<Parameter<'_>> {
        let nodes = self.nodes(part);
        let tied = |place: usize| part == Part::Head && self.tied && place + 1 == nodes.len();
        let mut all: Vec<Parameter> = (0..nodes.len())
            .filter(|&place| !tied(place))
            .flat_map(|place| {
                let site = self.site_of(part, place);
                nodes[place].params.iter().map(move |param| Parameter {
                    name: full(part, &param.name),
                    site,
                    param,
                })
            })
            .collect();
        if part.layer().is_some() {
            // Modules of modules come first, the block's own norms last; within attention, norms
            // follow linear layers.
            all.sort_by_key(|p| {
                let module = p.site.name().split_once('.').map(|(module, _)| module);
                (module.is_none(), module.is_some_and(|m| m != "self_attn"), p.site.op() == Op::Norm)
            });
        }
        all
    }

    /// The name of the embedding's weight.
    pub fn embedding_weight(&self) -> &str {
        &self.stem[0].params[0].name
    }

    /// The name of the output layer's weight.
    pub fn head_weight(&self) -> &str {
        &self.head[self.head.len() - 1].params[0].name
    }

    /// The parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<Parameter<'_>> {
        let mut all = self.parts_of(name).into_iter().flat_map(|part| self.parameters_of(part));
        all.find(|parameter| parameter.name == name)
    }

    /// What the parameter of this name is, be it a tied output layer.
    pub fn kind(&self, name: &str) -> Option<ParameterKind> {
        let (part, place, i) = self.parts_of(name).into_iter().find_map(|part| {
            let named = |node: &Node| node.params.iter().position(|param| full(part, &param.name) == name);
            self.nodes(part).iter().enumerate().find_map(|(place, node)| Some((part, place, named(node)?)))
        })?;
        let nodes = self.nodes(part);
        // The feed-forward branch begins behind the sum around attention.
        let sum = nodes.iter().position(|node| node.op == Op::Add(Branch::Attention));
        let branch = sum.map(|sum| if place < sum { Branch::Attention } else { Branch::FeedForward });
        let (op, rows) = (nodes[place].op, nodes[place].params[i].rows);
        Some(ParameterKind { op, layer: part.layer(), branch, rows, bias: i > 0 })
    }

    /// Longest sequence that makes sense: what the model was made for, or any with dynamic scaling.
    pub fn max_tokens(&self) -> usize {
        let growth = self.ropes.iter().map(|rope| rope.parameters.growth()).fold(1.0, f64::max);
        (self.max_positions as f64 * growth) as usize
    }

    /// Sizes that two models share if their activations can be compared, with the names that users
    /// know them by.
    pub fn sizes(&self) -> Vec<(&'static str, usize)> {
        let mut sizes = vec![
            ("num_hidden_layers", self.layers.len()),
            ("hidden_size", self.width),
            ("vocab_size", self.vocab),
        ];
        if let Some(layer) = self.layers.first() {
            let (attention, feed_forward) = (&layer.attention, &layer.feed_forward);
            sizes.splice(
                2..2,
                [
                    ("intermediate_size", feed_forward.width),
                    ("num_attention_heads", attention.heads),
                    ("num_key_value_heads", attention.groups),
                    ("head_dim", attention.head_dim),
                ],
            );
            sizes.extend([
                ("attention_bias", usize::from(attention.bias[0])),
                ("o_proj bias", usize::from(attention.bias[1])),
                ("mlp_bias", usize::from(feed_forward.bias)),
                ("q_norm and k_norm", usize::from(attention.qk_norm)),
                ("llama_4_scaling_beta", usize::from(attention.query_scale.is_some())),
            ]);
        }
        sizes
    }
}

/// A parameter with its whole name.
#[derive(Clone, Debug)]
pub struct Parameter<'a> {
    /// Its name in PyTorch's state dict.
    pub name: String,
    /// The site of its node.
    pub site: Site,
    /// What it is.
    pub param: &'a Param,
}

impl Parameter<'_> {
    /// Its name in a GGUF.
    pub fn gguf(&self) -> String {
        match self.site.layer() {
            Some(n) => format!("blk.{n}.{}", self.param.gguf),
            None => self.param.gguf.clone(),
        }
    }
}

/// The whole name of a parameter of a part.
pub(crate) fn full(part: Part, name: &str) -> String {
    match part.layer() {
        Some(n) => format!("{BLOCKS}.{n}.{name}"),
        None => name.to_owned(),
    }
}
