//! Linear layers in other arithmetic: formats, codes, sums in parts.

use rayon::prelude::*;
use ulpscope_decoder::{Role, Site};
use ulpscope_floats::{DType, Floats};
use ulpscope_record::Finding;

use super::numbers::{dot, e4m3, largest, q4_0, q8_0, q8_0_as_kept, quantised, quantised_between};
use super::{At, Case, Formula, cast, found, in_format};
use crate::causes;

/// Outputs of a layer that are looked at, at even distances, if there are more; and tokens of a
/// prompt, the first.
const OUTPUTS: usize = 2048;
const TOKENS: usize = 64;

/// At the output of a linear layer.
pub(super) fn linear(at: &At) -> Option<Formula> {
    let (weight, bias) = (at.weight.as_ref()?, at.bias.as_deref());
    let [from] = at.model.reads(at.site, at.attention)[..] else { return None };
    let rows = at.cases[0].theirs.len() / at.cases[0].tokens.max(1);
    let width = weight.len() / rows.max(1);
    let every = rows.div_ceil(OUTPUTS).max(1);
    let layer = Layer { at, from, weight, bias, width, rows, every };
    let twice = |case: &Case, bias: &[f64]| {
        Some(case.ours.iter().enumerate().map(|(i, z)| z + bias[i % bias.len()]).collect())
    };
    if bias.is_some_and(|bias| !bias.is_empty() && at.explains(|case| twice(case, bias))) {
        return found(causes::OUTPUT_OFFSET, Finding::new("bias-twice"));
    }
    let narrow = |dtype: DType| move |x: &mut [f64]| x.copy_from_slice(&cast(x.to_vec(), dtype));
    for dtype in [DType::F16, DType::Bf16].into_iter().filter(|dtype| *dtype != at.own) {
        if layer.gives(&narrow(dtype), &narrow(dtype), Some(dtype), 1) {
            return found(causes::COMPUTED_OTHERWISE, in_format("computed-in", dtype));
        }
    }
    if at.dtype != at.own && layer.gives(&same, &same, None, 1) {
        return found(causes::COMPUTED_OTHERWISE, in_format("computed-in", at.dtype));
    }
    let tf32 = |x: &mut [f64]| x.iter_mut().for_each(|x| *x = rounded(*x, 11));
    let tf32_even = |x: &mut [f64]| x.iter_mut().for_each(|x| *x = rounded_to_even(*x, 11));
    if at.dtype == DType::F32
        && (layer.gives(&tf32, &tf32, None, 1) || layer.gives(&tf32_even, &tf32_even, None, 1))
    {
        return found(causes::COMPUTED_OTHERWISE, in_format("computed-in", "TF32"));
    }
    for parts in [2, 4, 8] {
        if width.is_multiple_of(parts) && layer.gives(&same, &same, None, parts) {
            return found(causes::ORDER, in_format("sum-of-parts", at.dtype).with("parts", parts));
        }
    }
    if let Some(finding) = partial(&layer) {
        return found(causes::PARTIAL_SUM, finding);
    }
    let int8 = |x: &mut [f64]| quantised(x, 8);
    // Back in the model's format before it is multiplied.
    let back = |x: &mut [f64]| {
        quantised(x, 8);
        x.copy_from_slice(&at.rounded(x.to_vec()));
    };
    if layer.gives(&back, &same, None, 1) || layer.gives(&int8, &same, None, 1) {
        return found(causes::OUTPUT_ROUNDED, Finding::new("input-in-int8"));
    }
    if layer.gives(&int8, &int8, None, 1) {
        return found(causes::OUTPUT_ROUNDED, Finding::new("input-and-weight-in-int8"));
    }
    let coded = || {
        let mut codings = codings("weight", width, at.own).into_iter();
        codings.find(|(_, code)| layer.gives(&same, &**code, None, 1)).map(|(finding, _)| finding)
    };
    found(causes::QUANTISED, in_fp8(&layer).or_else(coded)?)
}

/// At the embeddings: a table that is quantised.
pub(super) fn table(at: &At) -> Option<Formula> {
    let width = at.model.width;
    let (finding, _) = codings("table", width, at.own).into_iter().find(|(_, code)| {
        at.gives(|case| {
            let mut rows = case.ours.clone();
            rows.chunks_mut(width).for_each(code);
            Some(rows)
        })
    })?;
    found(causes::QUANTISED, finding)
}

/// A row of a weight quantised, and how.
type Coding = (Finding, Box<dyn Fn(&mut [f64]) + Sync>);

/// The ways in which rows of this width are quantised, as they are multiplied and as a checkpoint
/// of this format holds them.
fn codings(what: &str, width: usize, own: DType) -> Vec<Coding> {
    let mut all: Vec<Coding> = Vec::new();
    let mut add = |finding: Finding, group: usize, code: fn(&mut [f64], u32), bits: u32| {
        if !width.is_multiple_of(group) {
            return;
        }
        let plain = move |x: &mut [f64]| x.chunks_mut(group).for_each(|x| code(x, bits));
        let stored = move |x: &mut [f64]| {
            plain(x);
            x.copy_from_slice(&cast(x.to_vec(), own));
        };
        let finding = finding.with("what", what);
        all.push((finding.clone(), Box::new(plain)));
        all.push((finding, Box::new(stored)));
    };
    add(in_format("in-format", "Q8_0"), 32, |x, _| q8_0(x), 8);
    add(in_format("in-format", "Q8_0"), 32, |x, _| q8_0_as_kept(x), 8);
    add(in_format("in-format", "Q4_0"), 32, |x, _| q4_0(x), 4);
    for bits in [8, 4] {
        for group in [width, 32, 64, 128] {
            let finding = match group == width {
                true => Finding::new("int-per-row"),
                false => Finding::new("int-in-groups").with("group", group),
            };
            let finding = finding.with("bits", bits);
            add(finding.clone(), group, quantised, bits);
            add(finding, group, quantised_between, bits);
        }
    }
    all
}

/// At gate or up: halves of the rows that are those of either, in another order.
pub(super) fn cut(at: &At) -> Option<Formula> {
    let weights = at.halves.as_ref()?;
    let [from] = at.model.reads(at.site, at.attention)[..] else { return None };
    let rows = at.cases[0].theirs.len() / at.cases[0].tokens.max(1);
    let (half, width) = (rows / 2, weights[0].len() / rows.max(1));
    let own = usize::from(at.plays(Role::Up));
    let names =
        at.gate_and_up()?.map(|site| site.name().rsplit_once('.').map_or(site.name(), |(_, name)| name));
    let halves = [[0, 0], [0, half], [1, 0], [1, half]];
    for first in halves {
        for second in halves {
            let usual = [first, second] == [[own, 0], [own, half]];
            let cut = |case: &Case| {
                let x = case.read(from)?;
                let row = |i: usize| {
                    let [source, start] = if i < half { first } else { second };
                    let mut w = vec![0.0; width];
                    weights[source].read_f64((start + i % half) * width, &mut w);
                    w
                };
                // Some of the rows tell.
                let chosen: Vec<(usize, Vec<f64>)> =
                    (0..rows).step_by(rows.div_ceil(64).max(1) | 1).map(|i| (i, row(i))).collect();
                let token = |x: &[f64]| {
                    let mut y = vec![f64::NAN; rows];
                    chosen.iter().for_each(|(i, w)| y[*i] = dot(x, w));
                    y
                };
                Some(x.chunks(width).flat_map(token).collect())
            };
            if !usual && rows == 2 * half && at.explains_some(cut) {
                let ([source, start], [other, other_start]) = (first, second);
                let finding = Finding::new("halves").with("of", names[source]).with("other_of", names[other]);
                let finding = finding.with("first", start).with("last", start + half - 1);
                let finding = finding.with("other_first", other_start);
                return found(causes::SPLIT, finding.with("other_last", other_start + half - 1));
            }
        }
    }
    None
}

/// Inputs that alone are summed, or that alone are left out: those of one shard of several.
fn partial(layer: &Layer) -> Option<Finding> {
    for shards in [2, 4, 8].into_iter().filter(|shards| layer.width.is_multiple_of(*shards)) {
        for shard in 0..shards {
            let len = layer.width / shards;
            let own = shard * len..(shard + 1) * len;
            for left_out in [false, true] {
                // Of two halves, one that is left out is one that the other is alone.
                if left_out && shards == 2 {
                    continue;
                }
                let keep = |x: &mut [f64]| {
                    (x.iter_mut().enumerate())
                        .filter(|(i, _)| own.contains(i) == left_out)
                        .for_each(|(_, x)| *x = 0.0);
                };
                if layer.gives(&keep, &same, None, 1) {
                    let finding = Finding::new(if left_out { "inputs-left-out" } else { "inputs-alone" });
                    let finding = finding.with("first", own.start).with("last", own.end - 1);
                    return Some(finding.with("width", layer.width));
                }
            }
        }
    }
    None
}

/// Input or weight or both in fp8 (e4m3), with a scale for each token or row, for all of the
/// weight, or none.
fn in_fp8(layer: &Layer) -> Option<Finding> {
    let of_all = (0..layer.weight.len()).map(|i| layer.weight.get(i).abs()).fold(0.0, f64::max);
    let coded = |x: &mut [f64], most: f64| {
        let scale = if most > 0.0 { most / 448.0 } else { 1.0 };
        x.iter_mut().for_each(|x| *x = e4m3(*x / scale) * scale);
    };
    let by_line = |x: &mut [f64]| coded(x, largest(x));
    let by_tensor = |x: &mut [f64]| coded(x, of_all);
    let plain = |x: &mut [f64]| coded(x, 448.0);
    type Way<'w> = (&'w str, Change<'w>);
    let inputs: [Way; 3] = [("", &same), ("per-token", &by_line), ("unscaled", &plain)];
    let weights: [Way; 4] =
        [("", &same), ("per-tensor", &by_tensor), ("per-row", &by_line), ("unscaled", &plain)];
    for (of_input, input) in inputs {
        for (of_weight, weight) in weights {
            if !(of_input.is_empty() && of_weight.is_empty()) && layer.gives(input, weight, None, 1) {
                return Some(match (of_input, of_weight) {
                    ("", weight) => Finding::new("weight-in-fp8").with("weight", weight),
                    (input, "") => Finding::new("input-in-fp8").with("input", input),
                    (input, weight) => {
                        let finding = Finding::new("input-and-weight-in-fp8");
                        finding.with("input", input).with("weight", weight)
                    }
                });
            }
        }
    }
    None
}

/// A number rounded to so many bits, to nearest, ties to even.
fn rounded_to_even(x: f64, bits: u32) -> f64 {
    let drop = 53 - bits;
    let even = (x.to_bits() >> drop) & 1;
    f64::from_bits((x.to_bits() + (1 << (drop - 1)) - 1 + even) >> drop << drop)
}

/// A number rounded to so many bits, to nearest, ties away from zero, as GPUs round to TF32.
fn rounded(x: f64, bits: u32) -> f64 {
    let drop = 53 - bits;
    f64::from_bits((x.to_bits() + (1 << (drop - 1))) >> drop << drop)
}

/// What is done to a row of the weight, or to the input of a token.
type Change<'c> = &'c (dyn Fn(&mut [f64]) + Sync);

fn same(_: &mut [f64]) {}

struct Layer<'l, 's> {
    at: &'l At<'s>,
    from: Site,
    weight: &'l Floats<'l>,
    bias: Option<&'l [f64]>,
    width: usize,
    rows: usize,
    every: usize,
}

impl Layer<'_, '_> {
    /// Whether the trace's outputs come of input and weight, by row, after these functions; sums in
    /// so many parts are rounded to `through`, or the trace's format where there are several.
    fn gives(&self, input: Change, weight: Change, through: Option<DType>, parts: usize) -> bool {
        let chosen: Vec<(usize, Vec<f64>)> = (0..self.rows)
            .step_by(self.every)
            .map(|row| {
                let mut w = vec![0.0; self.width];
                self.weight.read_f64(row * self.width, &mut w);
                weight(&mut w);
                (row, w)
            })
            .collect();
        self.at.gives(|case| self.outputs(case, input, &chosen, through, parts))
    }

    fn outputs(
        &self,
        case: &Case,
        input: Change,
        chosen: &[(usize, Vec<f64>)],
        through: Option<DType>,
        parts: usize,
    ) -> Option<Vec<f64>> {
        let mut x = case.read(self.from)?;
        x.truncate(case.tokens * self.width);
        let token = |(t, x): (usize, &[f64])| -> Vec<f64> {
            // Nothing is known of the others.
            let mut y = vec![f64::NAN; self.rows];
            if t >= TOKENS {
                return y;
            }
            let mut x = x.to_vec();
            input(&mut x);
            let part = self.width / parts;
            let of_part = |n: usize| -> Vec<f64> {
                let range = n * part..(n + 1) * part;
                chosen.iter().map(|(_, w)| dot(&x[range.clone()], &w[range.clone()])).collect()
            };
            let sums = match (through, parts) {
                (None, 1) => of_part(0),
                (Some(dtype), _) => cast(of_part(0), dtype),
                (None, _) => (1..parts).fold(self.at.rounded(of_part(0)), |sums, n| {
                    let both = sums.iter().zip(self.at.rounded(of_part(n))).map(|(x, y)| x + y);
                    self.at.rounded(both.collect())
                }),
            };
            for ((row, _), sum) in chosen.iter().zip(sums) {
                y[*row] = sum + self.bias.map_or(0.0, |bias| bias[*row]);
            }
            y
        };
        Some(x.par_chunks(self.width).enumerate().flat_map_iter(token).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_few_bits() {
        let step = 2f64.powi(-10);
        assert_eq!(rounded(1.0 + 0.6 * step, 11), 1.0 + step);
        assert_eq!(rounded(-(1.0 + 0.5 * step), 11), -1.0 - step);
        assert_eq!(rounded(1.0 + 1.5 * step, 11), 1.0 + 2.0 * step);
        assert_eq!(rounded(0.0, 11), 0.0);
    }
}
