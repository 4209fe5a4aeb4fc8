//! How PyTorch's code is asked for the activation of each node of a block.

use std::fmt;

use crate::layer::{Layer, Role};
use crate::node::{Node, Op, Source};

/// Where a script that runs transformers' model sees the activation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hook {
    /// The name of the node's site, below the block.
    pub site: &'static str,
    /// What is observed.
    pub how: How,
    /// The module that it is observed at, below the block; empty for the block.
    pub module: &'static str,
}

/// What is observed of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// Its output.
    Output,
    /// Its input.
    Input,
    /// Queries as the rotation in it returns them.
    RotatedQuery,
    /// Keys as the rotation in it returns them.
    RotatedKey,
    /// Queries as attention is given them.
    Query,
    /// What eager attention gives to softmax.
    Scores,
    /// What eager attention returns beside its output.
    Probs,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            How::Output => "output",
            How::Input => "input",
            How::RotatedQuery => "rotated query",
            How::RotatedKey => "rotated key",
            How::Query => "query",
            How::Scores => "scores",
            How::Probs => "probs",
        })
    }
}

impl Layer {
    /// Where PyTorch's code shows the activation of each node, in forward order.
    ///
    /// # Panics
    /// If PyTorch has no module for a node, and none that reads it.
    pub fn hooks(&self) -> Vec<Hook> {
        (0..self.nodes().len()).map(|place| self.hook(place)).collect()
    }

    fn hook(&self, place: usize) -> Hook {
        let node = &self.nodes()[place];
        let attention = || node.name.split_once('.').map_or("", |(module, _)| module);
        // Scaled or not, rotated queries are what comes out of the first rotation.
        let (how, module) = match node.op {
            Op::Rope(_) if Some(place) == self.place(Role::Key) => (How::RotatedKey, attention()),
            Op::Rope(_) => (How::RotatedQuery, attention()),
            Op::ScaleQuery => (How::Query, attention()),
            Op::Scores => (How::Scores, attention()),
            Op::Softmax => (How::Probs, attention()),
            op if op.is_module() || node.name.is_empty() => (How::Output, node.name),
            _ => {
                let reader = self
                    .nodes()
                    .iter()
                    .find(|reader| reader.op.is_module() && reader.reads.contains(&Source::Node(place)));
                (How::Input, reader.map(|reader: &Node| reader.name).expect("a module reads it"))
            }
        };
        Hook { site: node.name, how, module }
    }
}
