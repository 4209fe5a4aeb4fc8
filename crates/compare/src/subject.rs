//! What an experiment runs: arms, and mixtures of two arms.

use std::collections::BTreeSet;

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_decoder::{Architecture, Field, RotaryEmbedding, Semantics};
use ulpscope_floats::DType;
use ulpscope_weights::{Arm, Checkpoint};

use crate::CompareError;

/// Subjects in lockstep: each prompt through each of them.
///
/// [`compare`](crate::compare) is the plain case, arms against the first. Counterfactuals, noise
/// floors and changes of the compute format are further subjects, so that one pass over the
/// checkpoint answers all of them.
#[derive(Clone)]
pub struct Experiment<'a> {
    /// What runs. A mixture refers to arms by their index here.
    pub subjects: Vec<Subject<'a>>,
    /// Token ids of each prompt.
    pub prompts: Vec<Vec<u32>>,
    /// The sites to report.
    pub sites: Pattern,
    /// The device that computes.
    pub device: Device,
    /// Whether parameters that differ between arms are described and counted. Comparing them costs
    /// about as much as running a short prompt, and needs doing once.
    pub describe: bool,
    /// On prompts of more tokens than this, the sites of subjects that watch [`Watch::Introduced`]
    /// are left out.
    pub longest_watched: usize,
    /// Whether the arms' models stay in memory for what comes after, in
    /// [`Observed::models`](crate::Observed::models).
    pub keep: bool,
}

/// One thing that runs.
#[derive(Clone)]
pub struct Subject<'a> {
    /// Name in what is observed.
    pub name: String,
    /// What it is made of.
    pub made: Made<'a>,
    /// A wider format to hold and compute everything in. Values stay as the recipe left them;
    /// `None`: the arm's own.
    pub compute: Option<DType>,
    /// Semantics of its attention, the order of summation, and where it departs from Hugging Face's
    /// arithmetic.
    pub semantics: Semantics,
    /// The subjects that its logits are compared with; its sites are compared with the first.
    pub against: Vec<usize>,
    /// Whether its sites are compared.
    pub watch: Watch,
}

/// What is compared at a subject's sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// The logits alone: nothing is recorded on the way, so that operations may be fused.
    #[default]
    Logits,
    /// What each site introduces on the other's inputs, and the logits.
    Introduced,
    /// What has accumulated at each site and what it introduces, and the logits.
    Everything,
}

/// What a subject is made of.
#[derive(Clone)]
pub enum Made<'a> {
    /// A recipe applied to a checkpoint.
    Arm(Arm<'a>),
    /// An arm with parts of another.
    Mix(Mix),
}

/// An arm with parts of another, which is what a counterfactual is.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Index of the arm that everything else comes from.
    pub base: usize,
    /// Index of the arm that gives the parts.
    pub donor: usize,
    /// The parts.
    pub take: Take,
}

/// Parts of an arm. The semantics are no part: a [`Subject`] states its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Keys of the state dict.
    pub parameters: BTreeSet<String>,
    /// What the recipe did to the buffers that no state dict holds.
    pub buffers: bool,
    /// Settings of config.json.
    pub fields: BTreeSet<Field>,
    /// The format of parameters and activations.
    pub dtype: bool,
}

impl Take {
    /// Everything that either of two takes.
    #[must_use]
    pub fn and(mut self, other: &Take) -> Take {
        self.parameters.extend(other.parameters.iter().cloned());
        self.buffers |= other.buffers;
        self.fields.extend(&other.fields);
        self.dtype |= other.dtype;
        self
    }
}

impl Mix {
    /// A copy of the arm at this index: the same arm with other semantics.
    pub fn copy(of: usize) -> Self {
        Mix { base: of, donor: of, take: Take::default() }
    }
}

impl<'a> Experiment<'a> {
    /// The arm at an index.
    ///
    /// # Panics
    /// If a mixture is there: mixtures are made of arms.
    pub(crate) fn arm(&self, index: usize) -> &Arm<'a> {
        match &self.subjects[index].made {
            Made::Arm(arm) => arm,
            Made::Mix(_) => panic!("a mixture is made of arms; subject {index} is a mixture itself"),
        }
    }

    /// Checks that the checkpoints are still the ones that were opened.
    pub(crate) fn unchanged(&self) -> Result<(), CompareError> {
        self.checkpoints().into_iter().try_for_each(|checkpoint| Ok(checkpoint.unchanged()?))
    }

    /// Each checkpoint once.
    pub(crate) fn checkpoints(&self) -> Vec<&'a Checkpoint> {
        let mut all: Vec<&Checkpoint> = Vec::new();
        for checkpoint in self.arms().map(|i| self.arm(i).checkpoint()) {
            if !all.iter().any(|known| std::ptr::eq(*known, checkpoint)) {
                all.push(checkpoint);
            }
        }
        all
    }

    /// The architecture that a subject runs.
    pub(crate) fn architecture(&self, index: usize) -> Architecture {
        let Made::Mix(mix) = &self.subjects[index].made else {
            return self.arm(index).architecture().clone();
        };
        let mut mixed = self.arm(mix.base).architecture().clone();
        mix.take.fields.iter().for_each(|field| field.take(&mut mixed, self.arm(mix.donor).architecture()));
        mixed
    }

    /// The rotary embeddings of a subject: computed from its description, then what the recipe does
    /// to buffers.
    pub(crate) fn rotary(&self, index: usize) -> Vec<RotaryEmbedding> {
        let recipe = match &self.subjects[index].made {
            Made::Arm(arm) => arm.recipe(),
            Made::Mix(mix) if mix.take.buffers => self.arm(mix.donor).recipe(),
            Made::Mix(mix) => self.arm(mix.base).recipe(),
        };
        recipe.rotary(&self.architecture(index)).0
    }

    /// The format that a subject holds its parameters and activations in.
    pub(crate) fn dtype(&self, index: usize) -> DType {
        let own = match &self.subjects[index].made {
            Made::Arm(arm) => arm.dtype(),
            Made::Mix(mix) if mix.take.dtype => self.arm(mix.donor).dtype(),
            Made::Mix(mix) => self.arm(mix.base).dtype(),
        };
        self.subjects[index].compute.unwrap_or(own)
    }

    /// The arm whose value a parameter of a subject is.
    pub(crate) fn origin(&self, index: usize, parameter: &str) -> usize {
        match &self.subjects[index].made {
            Made::Arm(_) => index,
            Made::Mix(mix) if mix.take.parameters.contains(parameter) => mix.donor,
            Made::Mix(mix) => mix.base,
        }
    }

    /// The indices of the arms.
    pub(crate) fn arms(&self) -> impl Iterator<Item = usize> {
        (0..self.subjects.len()).filter(|&i| matches!(self.subjects[i].made, Made::Arm(_)))
    }

    /// Whether the output layer is the embedding, in every arm. Where it is in some, all of them
    /// hold a head of their own, which has the embedding's bits in those.
    pub(crate) fn tied(&self) -> bool {
        self.arms().all(|i| self.arm(i).architecture().tied)
    }
}
