//! What an explanation means for the model: typed, in the order in which a reader needs it.
//!
//! A terminal, a page and a pull request show the same [`Judgement`]: the consequence first, then
//! the cause and its proof, then where it starts, what to do, and what limits the answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::float;

/// What a divergence does to the model's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Consequence {
    /// Most likely tokens flip that noise cannot flip, or logits are no numbers.
    ChangesOutput,
    /// The divergence exceeds the noise floor, and no token flips but near-ties.
    AboveNoise,
    /// The divergence is what another order of summation makes, too.
    Noise,
    /// Every logit that was compared has the reference's bits.
    Equal,
    /// Too little was compared to tell.
    Undecided,
}

impl Consequence {
    /// The badge: `CHANGES THE OUTPUT`.
    pub fn badge(self) -> &'static str {
        match self {
            Consequence::ChangesOutput => "CHANGES THE OUTPUT",
            Consequence::AboveNoise => "ABOVE NOISE",
            Consequence::Noise => "NOISE",
            Consequence::Equal => "EQUAL",
            Consequence::Undecided => "UNDECIDED",
        }
    }
}

/// Whether a cause is a mistake, or something that both sides are free to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A choice: a format, an order of summation, a quantisation that was meant.
    Choice,
    /// A defect: somebody has to mend it.
    Defect,
}

/// How the causes were shown to be the causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Proof {
    /// Exchanging them turns each arm into the other, to the last bit of every logit.
    Bits,
    /// Exchanging them changes the outcome both ways.
    BothWays,
    /// Each operation of ours, changed as stated, gives the recording's values on the recording's
    /// inputs.
    OnItsInputs,
    /// The recorded values keep to a rule; nothing was run.
    ReadOff,
    /// No cause was proved.
    None,
}

/// What a judgement measures, over all prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// KL(reference ‖ arm) in nats, the mean over positions; NaN where it was not measured.
    #[serde(with = "float")]
    pub kl: f64,
    /// KL in nats that other orders of summation make, the mean over orders and positions; NaN
    /// without a floor.
    #[serde(with = "float")]
    pub floor_kl: f64,
    /// The largest of those over orders.
    #[serde(with = "float")]
    pub floor_most: f64,
    /// KL in nats of all causes together without rounding in between; NaN where it was not
    /// measured.
    #[serde(with = "float")]
    pub intrinsic_kl: f64,
    /// Whether the causes' shares add up, so that each has one.
    pub additive: bool,
    /// Prompts that were compared.
    pub prompts: usize,
    /// Positions of all prompts.
    pub positions: usize,
    /// Positions at which the most likely token flips.
    pub flips: usize,
    /// Of those, flips that noise does not explain.
    pub clear_flips: usize,
    /// Tokens of each greedy continuation that was compared; 0 if none was.
    pub continued: usize,
    /// First token at which any continuation parts.
    pub parts_at: Option<usize>,
    /// Sites compared, and sites asked for, over all prompts.
    pub sites: [usize; 2],
}

/// What a line of a judgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topic {
    /// One cause, or several that act together.
    Cause,
    /// Where it starts.
    Where,
    /// What to do.
    Fix,
    /// What limits the answer.
    Limit,
}

impl Topic {
    /// Its name in the margin.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Cause => "CAUSE",
            Topic::Where => "WHERE",
            Topic::Fix => "FIX",
            Topic::Limit => "LIMIT",
        }
    }
}

/// One line of a judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What it is about.
    pub topic: Topic,
    /// A plain sentence.
    pub text: String,
}

/// What an explanation means for the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What the divergence does to the output.
    pub consequence: Consequence,
    /// The worst of the causes; null where there is none.
    pub severity: Option<Severity>,
    /// How the causes were shown.
    pub proof: Proof,
    /// What is compared, the reference first, each named so that a reader tells the two apart.
    pub compared: [String; 2],
    /// The answer in at most 25 words.
    pub headline: String,
    /// What was measured.
    pub size: Size,
    /// Cause, place, remedy and limits, in this order.
    pub rows: Vec<Row>,
}

/// A fact about one cause, as data: the sentence beside it says the same.
///
/// ```
/// use ulpscope_record::Finding;
///
/// let finding = Finding::new("quantised").with("levels", 15).with("block", 64).with("sqnr_db", 17.7);
/// assert_eq!(finding.number("sqnr_db"), Some(17.7));
/// assert!(finding.alike(&Finding::new("quantised").with("levels", 15).with("block", 64).with("sqnr_db", 17.72)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind of fact: `rounded`, `quantised`, `theta`.
    pub rule: String,
    /// Its numbers and names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Value>,
}

/// A number, a name, or a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(#[serde(with = "float")] f64),
    /// A name: of a format, a site, a tensor.
    Text(String),
    /// Several.
    List(Vec<Value>),
}

macro_rules! value_from {
    ($($from:ty => $make:expr;)*) => { $(impl From<$from> for Value {
        fn from(x: $from) -> Self { ($make)(x) }
    })* };
}
value_from! {
    bool => Value::Flag;
    i64 => Value::Integer;
    f64 => Value::Number;
    String => Value::Text;
    &str => |x: &str| Value::Text(x.to_owned());
    i32 => |x| Value::Integer(i64::from(x));
    u32 => |x| Value::Integer(i64::from(x));
    usize => |x| Value::Integer(i64::try_from(x).unwrap_or(i64::MAX));
    Vec<String> => |x: Vec<String>| Value::List(x.into_iter().map(Value::Text).collect());
    Vec<usize> => |x: Vec<usize>| Value::List(x.into_iter().map(Value::from).collect());
}

impl Finding {
    /// A fact of this kind, with no values yet.
    pub fn new(rule: &str) -> Self {
        Finding { rule: rule.to_owned(), values: BTreeMap::new() }
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }

    /// A number of it.
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.values.get(key)? {
            Value::Number(x) => Some(*x),
            Value::Integer(x) => Some(*x as f64),
            _ => None,
        }
    }

    /// A name of it.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(x) => Some(x),
            _ => None,
        }
    }

    /// A text that two facts share exactly if they are the same.
    pub fn key(&self) -> String {
        let values = self.values.iter().map(|(key, value)| format!(" {key}={}", value.key()));
        self.rule.clone() + &values.collect::<String>()
    }

    /// Whether two say the same, numbers to within 1 %.
    pub fn alike(&self, other: &Finding) -> bool {
        self.rule == other.rule
            && self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(|((k, x), (l, y))| k == l && x.alike(y))
    }
}

impl Value {
    fn key(&self) -> String {
        match self {
            Value::Flag(x) => x.to_string(),
            Value::Integer(x) => x.to_string(),
            Value::Number(x) => x.to_string(),
            Value::Text(x) => x.clone(),
            Value::List(all) => all.iter().map(Value::key).collect::<Vec<_>>().join(","),
        }
    }

    fn alike(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Number(x), Value::Number(y)) => x == y || (x - y).abs() <= 0.01 * x.abs(),
            (Value::List(x), Value::List(y)) => {
                x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.alike(y))
            }
            (x, y) => x == y,
        }
    }
}
