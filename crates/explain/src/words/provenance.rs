//! Where tensors come from, in words.

use std::collections::BTreeMap;
use std::fmt;

use super::listed;
use crate::evidence::{Besides, Folding, Moved, Provenance, SplitTensor};

/// Runs of layers that a sentence names.
const RUNS: usize = 6;

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.with_biases {
            f.write_str(", weights and biases")?;
        }
        if self.layers > 1 {
            write!(f, " ({} layers)", self.layers)?;
        }
        Ok(())
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moved::Tensor(origin) => write!(f, "{origin}"),
            Moved::Layers { place, sources, copied, changed } => {
                if let Some(place) = place {
                    write!(f, "{place}: ")?;
                }
                f.write_str(&layers(sources, *copied))?;
                f.write_str(if *changed { CHANGED } else { "" })
            }
            Moved::Near { name, from, swapped: true, .. } => {
                write!(f, "{name} and {from} are swapped{CHANGED}")
            }
            Moved::Near { name, from, negative, .. } => {
                let sign = if *negative { "minus " } else { "" };
                write!(
                    f,
                    "b's {name} is near to {sign}a's {from} (correlation above 0.8), and not to its own"
                )
            }
            Moved::Split(tensors) => f.write_str(&tensors.iter().map(split).collect::<Vec<_>>().join("; ")),
            Moved::Basis { followed, missing, besides: found, more } => {
                write!(f, "the residual stream is in another basis in {followed} tensors")?;
                if !missing.is_empty() {
                    return write!(f, ", and not in {}", listed(missing));
                }
                write!(f, ", which is no fault{}", besides(found, "what that gives"))?;
                if *more > 0 { write!(f, ", and {more} more") } else { Ok(()) }
            }
            Moved::Folded { norm, into, how, besides: found } => {
                let into = listed(into);
                match how {
                    Folding::Kept => write!(f, "b = a times {norm} in {into}, and that norm is as it was")?,
                    Folding::NotInto(not) => write!(
                        f,
                        "what {norm} was divided by, for each channel, is taken into {into} and not into {}",
                        listed(not)
                    )?,
                    Folding::All => write!(
                        f,
                        "{norm} is divided and {into} multiplied by the same factors for each channel"
                    )?,
                }
                f.write_str(&besides(found, "what that gives"))
            }
            Moved::Neurons { moved, not, besides: found } => {
                write!(f, "the neurons of {} are in another order", listed(moved))?;
                match &not[..] {
                    [] => f.write_str(", which is no fault")?,
                    not => write!(f, ", and those of {} are not", listed(not))?,
                }
                f.write_str(&besides(found, "in that order"))
            }
        }
    }
}

/// Of what was not only moved.
const CHANGED: &str = ", and changed besides (correlation above 0.8)";

/// What was done besides; `given` says what `a` stands for.
fn besides(found: &Besides, given: &str) -> String {
    found.as_ref().map_or(String::new(), |found| {
        let (name, statement) = &**found;
        format!("; besides, a being {given}, {statement} in {name}")
    })
}

fn split(tensor: &SplitTensor) -> String {
    let runs: Vec<String> =
        tensor.runs.iter().map(|(of, first, last)| format!("{of} {first} to {last}")).collect();
    let more = if tensor.more { ", …" } else { "" };
    format!("b's {} is rows {} of a{more}", tensor.name, runs.join(", "))
}

/// `sources` are the layers of `a` that those of `b` are.
fn layers(sources: &BTreeMap<usize, usize>, copied: bool) -> String {
    let pairs: Vec<(usize, usize)> = sources.iter().map(|(layer, from)| (*layer, *from)).collect();
    match pairs[..] {
        [(layer, from)] if copied => return format!("b's layer {layer} is a copy of layer {from}"),
        [(layer, from)] => return format!("b's layer {layer} is a's layer {from}"),
        [(i, from), (j, other)] if (i, j) == (other, from) => {
            return format!("layers {i} and {j} are swapped");
        }
        _ => {}
    }
    // Runs in which the other side's number goes up, down or stays.
    let mut runs: Vec<Vec<(usize, usize)>> = Vec::new();
    for pair in pairs {
        let step = |(x, from): (usize, usize), (y, other): (usize, usize)| {
            (y - x == 1).then_some(other as i64 - from as i64).filter(|by| by.abs() <= 1)
        };
        let goes_on = runs.last().is_some_and(|run| {
            let last = run[run.len() - 1];
            step(last, pair).is_some_and(|by| run.len() == 1 || step(run[run.len() - 2], last) == Some(by))
        });
        match runs.last_mut() {
            Some(run) if goes_on => run.push(pair),
            _ => runs.push(vec![pair]),
        }
    }
    let range =
        |from: usize, to: usize| if from == to { from.to_string() } else { format!("{from} to {to}") };
    let shown: Vec<String> = (runs.iter().take(RUNS))
        .map(|run| {
            let ((first, from), (last, to)) = (run[0], run[run.len() - 1]);
            let verb = if first == last { "is" } else { "are" };
            format!("{} {verb} a's {}", range(first, last), range(from, to))
        })
        .collect();
    format!("of b's layers {}{}", shown.join(", "), if runs.len() > RUNS { ", …" } else { "" })
}
