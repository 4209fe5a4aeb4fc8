//! The fields of a record's `explanation`: what caused a divergence, how that was proved, and
//! whether it matters.
//!
//! An explanation is of one arm against the reference. The names of the two are `a`, the reference,
//! and `b`; every number was measured in the run that the record is of.
//!
//! Where the reference is a trace, it can't be run again: nothing is injected into it, so that no
//! cause is `sufficient`. `necessary` then says that each operation of ours that the cause accounts
//! for, changed as the cause says, gives the trace's values on the trace's inputs.

use serde::{Deserialize, Serialize};

use crate::float;
use crate::judgement::{Finding, Judgement, Severity};

/// How an explanation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The cause is known, and undoing it undoes the divergence.
    Explained,
    /// There is a divergence that no known cause accounts for.
    Unexplained,
    /// No site and no logit differs.
    NoDifference,
    /// Too little of what was asked for could be compared for a verdict; causes and origins are of
    /// what could be.
    Incomplete,
}

impl Status {
    /// As records write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Explained => "explained",
            Status::Unexplained => "unexplained",
            Status::NoDifference => "no-difference",
            Status::Incomplete => "incomplete",
        }
    }
}

/// From divergence to cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The arm that is explained, against the reference.
    pub arm: String,
    /// How it ended.
    pub status: Status,
    /// A paragraph that a person can act on.
    pub verdict: String,
    /// What it means for the model; absent from records of schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
    /// What caused the divergence, the largest first.
    pub causes: Vec<Cause>,
    /// Candidates that were tried and dismissed, one sentence each.
    pub ruled_out: Vec<String>,
    /// Sites that introduce more than the noise of the arithmetic, in forward order.
    pub origins: Vec<Origin>,
    /// What the reference differs from itself when only the order of summation changes.
    pub floor: Floor,
    /// How the tensors that matter were found among many that differ; null where there were few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bisection: Option<Bisection>,
    /// What happened when a factor was restored or injected, each by running it.
    pub counterfactuals: Vec<Counterfactual>,
    /// Divergence by position, beside the floor.
    pub growth: Vec<Bucket>,
    /// First position from which the divergence stays above the floor; null if it never does.
    pub onset: Option<usize>,
    /// Position at which the intrinsic size, by a power law fitted to this run's own buckets,
    /// reaches three standard deviations of the floor; null where no law could be fitted. An
    /// extrapolation, no measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_onset: Option<usize>,
    /// Where theory expects each cause to show, one sentence each.
    pub expected: Vec<String>,
    /// Which of the two arms is nearer to the truth; null where it was not measured.
    pub truth: Option<Truth>,
    /// Cheap observations that tell kinds of causes apart.
    pub signatures: Signatures,
    /// What the divergence does to decisions, per prompt.
    pub decisions: Vec<Decision>,
    /// What limits the verdict: short prompts, unmatched sites, shared faults. One sentence each.
    pub guards: Vec<String>,
}

impl Explanation {
    /// Whether all that differs cancels out, so that its causes are parts of an equivalent
    /// rewriting, and no faults.
    pub fn cancels_out(&self) -> bool {
        self.status == Status::Explained
            && self.causes.iter().all(|cause| !cause.fault && cause.remedy.is_empty())
    }
}

/// One cause, proved or likely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Name in the closed catalogue: `rotary-buffer-rounded`.
    pub id: String,
    /// The same in words.
    pub title: String,
    /// What it happened to: a buffer, a tensor or a class of tensors, a field of the config, an
    /// arithmetic choice.
    pub subject: String,
    /// The same as data; absent from records of schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Subject>,
    /// How the two arms' subjects are related, exactly where that is known.
    pub relation: Option<String>,
    /// The same as data; absent from records of schema 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The first site at which it shows; null where no site that was observed shows it.
    pub site: Option<String>,
    /// Whether putting the reference's subject into the arm removes what the cause is responsible
    /// for.
    pub necessary: bool,
    /// Whether putting the arm's subject into the reference produces what the cause is responsible
    /// for.
    pub sufficient: bool,
    /// Whether both hold to the last bit of every logit.
    pub bit_equal: bool,
    /// Share of KL(a ‖ b) that goes away when the cause is undone, measured in `intrinsic_compute`
    /// where there are several causes.
    #[serde(with = "float")]
    pub kl_share: f64,
    /// 95 % interval of the share, by block bootstrap over positions.
    #[serde(with = "float::two")]
    pub kl_share_interval: [f64; 2],
    /// KL in nats of this cause alone, computed without rounding in between; the mean over
    /// positions.
    #[serde(with = "float")]
    pub intrinsic_kl: f64,
    /// The format that `intrinsic_kl` was computed in: `f32` or `f64`.
    pub intrinsic_compute: String,
    /// Positions at which the most likely token flips, by this cause alone, of all positions.
    pub intrinsic_flips: [usize; 2],
    /// KL in nats that the order of summation alone makes; the mean over orders and positions.
    #[serde(with = "float")]
    pub floor_kl: f64,
    /// Whether the divergence is above the floor anywhere that was measured.
    pub exceeds_floor: bool,
    /// Whether it is a fault at all, or a choice that both sides are free to make (an order of
    /// summation, say).
    pub fault: bool,
    /// What to do about it; empty where there is nothing, because it cancels out.
    pub remedy: String,
}

impl Cause {
    /// Whether it is a mistake or a choice.
    pub fn severity(&self) -> Severity {
        if self.fault { Severity::Defect } else { Severity::Choice }
    }
}

/// What a cause happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Subject {
    /// A buffer that no state dict holds.
    Buffer {
        /// Its name.
        name: String,
    },
    /// Tensors of the state dict.
    Tensors {
        /// Their names.
        names: Vec<String>,
    },
    /// A field of the config.
    Setting {
        /// Its key.
        key: String,
    },
    /// A choice of arithmetic.
    Arithmetic {
        /// What is chosen: `attention`, `accumulation`, `format`, or a class of departures such as
        /// `norm`.
        class: String,
    },
    /// Operations of a recording.
    Sites {
        /// Their sites, in forward order.
        names: Vec<String>,
    },
}

/// A site that introduces more than noise on equal inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The site.
    pub site: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// Elements that differ on equal inputs, of all elements.
    pub differing: [u64; 2],
    /// Elements that the order of summation would be expected to change.
    #[serde(with = "float")]
    pub expected: f64,
    /// Root mean square of the introduced difference, as a multiple of the floor's; infinite over a
    /// floor of 0.
    #[serde(with = "float")]
    pub rms_ratio: f64,
    /// Probability of as much or more by the order of summation alone.
    #[serde(with = "float")]
    pub p_value: f64,
    /// The cause it is attributed to, by index; null if none.
    pub cause: Option<usize>,
}

/// What the reference differs from itself when only the order of summation changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The orders it was run in, beside its own.
    pub orders: Vec<String>,
    /// Probability that any site of the run is called an origin by mistake.
    #[serde(with = "float")]
    pub false_alarm_rate: f64,
    /// Tests that share this probability: sites times prompts.
    pub tests: usize,
    /// By site and prompt.
    pub sites: Vec<SiteFloor>,
    /// Of the logits, by prompt and order.
    pub logits: Vec<LogitFloor>,
    /// Of the logits, when the same tokens are given in another shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<ShapeFloor>,
}

/// What the shape of the computation alone changes in the reference's logits on one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShapeFloor {
    /// Which shapes are compared.
    pub what: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// Positions that were compared.
    pub positions: usize,
    /// Fraction of bit-equal logits.
    #[serde(with = "float")]
    pub equal: f64,
    /// KL in nats, the mean over positions.
    #[serde(with = "float")]
    pub kl: f64,
    /// Largest absolute difference of a logit.
    #[serde(with = "float")]
    pub max_abs: f64,
    /// Fraction of positions whose most likely token is the same.
    #[serde(with = "float")]
    pub top1_agreement: f64,
}

/// The floor of one site on one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteFloor {
    /// The site.
    pub site: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// Mean share of elements that another order changes on equal inputs.
    #[serde(with = "float")]
    pub differing: f64,
    /// Mean absolute difference on equal inputs, the mean and the largest over orders.
    #[serde(with = "float::two")]
    pub mean_abs: [f64; 2],
}

/// The floor of the logits in one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogitFloor {
    /// The order.
    pub order: String,
    /// Index of the prompt.
    pub prompt: usize,
    /// KL in nats, the mean over positions.
    #[serde(with = "float")]
    pub kl: f64,
    /// Fraction of bit-equal logits.
    #[serde(with = "float")]
    pub equal: f64,
    /// Fraction of positions whose most likely token is the same.
    #[serde(with = "float")]
    pub top1_agreement: f64,
}

/// How the tensors that matter were found among many that differ: sets of them were put into the
/// reference, and halved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bisection {
    /// Tensors that differ.
    pub tensors: usize,
    /// Sets that were tried, each by running it.
    pub runs: usize,
    /// Passes over the checkpoint.
    pub passes: usize,
    /// Prompts that sets were tried on.
    pub prompts: usize,
    /// Tokens of the longest of them; prompts are cut.
    pub tokens: usize,
    /// The format that sets were tried in: `f32` or `f64`.
    pub compute: String,
    /// KL in nats of all of them together; the mean over positions.
    #[serde(with = "float")]
    pub kl: f64,
    /// Tensors that matter: each by itself, or a few that matter only together.
    pub named: Vec<Vec<String>>,
    /// KL of those alone: whether they are enough. NaN if none was found.
    #[serde(with = "float")]
    pub named_kl: f64,
    /// KL of all the others alone: whether anything is left without those. NaN if none was found.
    #[serde(with = "float")]
    pub rest_kl: f64,
    /// Whether the search was given up, because the difference is spread over too many tensors.
    pub spread: bool,
}

/// In which direction a factor was exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The arm with the reference's factor, compared with the reference.
    Restored,
    /// The reference with the arm's factor, compared with the arm; in the wide format with the
    /// reference, so that its KL is what the factor does alone.
    Injected,
    /// The arm as it is, compared with the reference.
    Neither,
}

impl Direction {
    /// As records write it.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Restored => "restored",
            Direction::Injected => "injected",
            Direction::Neither => "neither",
        }
    }
}

/// One run with a factor exchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// What was exchanged; `everything` for all factors at once.
    pub factor: String,
    /// In which direction.
    pub direction: Direction,
    /// Index of the prompt.
    pub prompt: usize,
    /// Format of the arithmetic: the arms' own, or the one of the intrinsic size.
    pub compute: String,
    /// Fraction of bit-equal logits.
    #[serde(with = "float")]
    pub equal: f64,
    /// Whether all logits are bit-equal.
    pub bit_equal: bool,
    /// KL in nats between the two that are compared, the mean over positions.
    #[serde(with = "float")]
    pub kl: f64,
    /// Largest absolute difference of a logit.
    #[serde(with = "float")]
    pub max_abs: f64,
}

/// Divergence over a range of positions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Index of the prompt.
    pub prompt: usize,
    /// Positions from … (included)
    pub from: usize,
    /// … to (excluded).
    pub to: usize,
    /// Mean KL(a ‖ b) in nats.
    #[serde(with = "float")]
    pub kl: f64,
    /// Mean KL of the floor over orders.
    #[serde(with = "float")]
    pub floor_mean: f64,
    /// Standard deviation over orders.
    #[serde(with = "float")]
    pub floor_sd: f64,
    /// Mean KL of all causes together without rounding in between; NaN where it was not measured.
    #[serde(with = "float")]
    pub intrinsic_kl: f64,
    /// Whether the KL is above the floor, at the run's false-alarm rate.
    pub exceeds: bool,
}

/// How far both arms are from the reference's weights computed without rounding in between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// What is taken for the truth, in words.
    pub what: String,
    /// KL(truth ‖ a) and KL(truth ‖ b) in nats, means over positions and prompts.
    #[serde(with = "float::two")]
    pub kl: [f64; 2],
    /// The arm that is nearer, or null if the two are as near within the noise of the bootstrap.
    pub nearer: Option<String>,
    /// The same of both arms computed as the truth is, without rounding in between: what their
    /// parameters, buffers and departures are off by. NaN where it was not measured.
    #[serde(default = "unmeasured", with = "float::two")]
    pub intrinsic: [f64; 2],
    /// The first of those with what both arms share and the truth has not set right in arm a; null
    /// where they share nothing of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<f64>,
    /// What both arms have in common that the truth has not, one sentence each.
    pub shared: Vec<String>,
}

fn unmeasured() -> [f64; 2] {
    [f64::NAN; 2]
}

/// Cheap observations that tell kinds of causes apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signatures {
    /// Whether every logit of position 0 is bit-equal: true for faults of rotation, scale and
    /// scores alone.
    pub position_0_equal: Option<bool>,
    /// KL in nats of the arm against itself with all positions shifted, in f32: large where
    /// rotation is not a function of distance alone.
    pub shift_kl: Option<f64>,
    /// Exponent e of intrinsic KL ~ position^e, fitted over the buckets.
    pub growth_exponent: Option<f64>,
}

/// What the divergence does to decisions on one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Index of the prompt.
    pub prompt: usize,
    /// Positions of the prompt at which the most likely token differs, of all positions.
    pub flips: [usize; 2],
    /// Of those, flips at which the reference's margin exceeds what noise flips.
    pub flips_outside_near_ties: usize,
    /// Length of the greedy continuations that were compared; 0 if none was. Tokens that end a text
    /// do not stop them.
    pub continued: usize,
    /// Tokens at the end of the prompt that the continuations continue: all, but of long prompts.
    #[serde(default)]
    pub context: usize,
    /// First token of the continuations that differs; null if none does.
    pub first_different_token: Option<usize>,
    /// The reference's margin there, in logits.
    pub margin: Option<f64>,
    /// The same between the two tokens' probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin_probability: Option<f64>,
    /// The most that the order of summation alone changes a logit of the reference there; null
    /// where no other order was run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<f64>,
    /// Whether the margin is within twice that: then noise could have done it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_tie: Option<bool>,
    /// Both continuations as text; empty where the model came without a tokenizer.
    pub continuations: [String; 2],
    /// Both continuations as token ids.
    #[serde(default)]
    pub continued_ids: [Vec<u32>; 2],
    /// Difference of the mean negative log-likelihood of the prompt's own tokens, b minus a, in
    /// nats per token.
    #[serde(with = "float")]
    pub nll_difference: f64,
    /// 95 % interval of the difference, by paired block bootstrap.
    #[serde(with = "float::two")]
    pub nll_interval: [f64; 2],
}
