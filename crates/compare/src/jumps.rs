//! Sites of two recordings at which the difference jumps, and those that only hand on what came
//! before.
//!
//! Another order of summation moves single steps of the format, and what follows inherits and
//! enlarges them. A site stands out where its difference is several times what the residual stream,
//! its block and the same site of the block before show.

use std::collections::HashMap;

use ulpscope_decoder::{Part, forward_order};
use ulpscope_floats::{DType, Floats, ulp};

/// How many times larger than what is inherited a difference has to be. Orders of summation stay
/// below 2.
const TIMES: f64 = 4.0;
/// The most steps of the format that one more order of summation makes.
const STEPS: f64 = 2.0;
/// Elements of a table that a function's last bits may move: one of so many.
const RARELY: u64 = 1000;

/// How far one site of a recording is from the same site of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    /// The site's name.
    pub site: String,
    /// Root mean square of the difference over that of the first recording; infinite where only one
    /// side has numbers.
    pub relative: f64,
    /// Elements that differ.
    pub differing: u64,
    /// Elements that differ by more than two steps of the format.
    pub far: u64,
    /// Elements in all.
    pub len: u64,
    /// The formats of the two, where they differ.
    pub formats: Option<[DType; 2]>,
    /// The relative difference that one rounding to the coarser of the two formats makes, or in 32
    /// bits and more one sum.
    unit: f64,
}

/// A site at which the difference is more than what it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct Jump {
    /// The site's name.
    pub site: String,
    /// Its relative difference.
    pub relative: f64,
    /// The relative difference that it inherits, and that rounding makes.
    pub inherited: f64,
}

impl Jump {
    /// How many times larger than the inherited difference it is.
    pub fn times(&self) -> f64 {
        self.relative / self.inherited
    }
}

impl Beside {
    /// Compares two tensors of as many elements.
    pub fn of(site: &str, a: &Floats, b: &Floats) -> Self {
        let coarser =
            if a.dtype().unit_roundoff() >= b.dtype().unit_roundoff() { a.dtype() } else { b.dtype() };
        let scores = site.ends_with("scores");
        // No score is as low as what hides a key.
        let hidden = |x: f64| scores && x < -60_000.0;
        let (mut apart, mut size, mut differing, mut far, mut odd) = (0.0, 0.0, 0, 0, false);
        for i in 0..a.len().min(b.len()) {
            let (x, y) = (a.get(i), b.get(i));
            if hidden(x) && hidden(y) {
                continue;
            }
            if x == y || x.is_nan() && y.is_nan() {
                size += if x.is_finite() { x * x } else { 0.0 };
                continue;
            }
            differing += 1;
            let gap = (x - y).abs();
            if !gap.is_finite() || hidden(x) || hidden(y) {
                odd = true;
                continue;
            }
            far += u64::from(gap > STEPS * ulp(x.abs().max(y.abs()), coarser));
            (apart, size) = (apart + gap * gap, size + x * x);
        }
        let relative = if odd || (size == 0.0 && apart > 0.0) {
            f64::INFINITY
        } else if apart == 0.0 {
            0.0
        } else {
            f64::sqrt(apart / size)
        };
        let formats = (a.dtype() != b.dtype()).then(|| [a.dtype(), b.dtype()]);
        let unit = unit(coarser);
        Beside { site: site.to_owned(), relative, differing, far, len: a.len() as u64, formats, unit }
    }
}

/// The relative difference that one rounding makes, or in 32 bits and more one sum.
fn unit(dtype: DType) -> f64 {
    let sums = if matches!(dtype, DType::F32 | DType::F64) { 8.0 } else { 1.0 };
    sums * dtype.unit_roundoff()
}

/// The sites at which the difference jumps, of sites in forward order.
pub fn jumps(sites: &[Beside]) -> Vec<Jump> {
    let mut found = Vec::new();
    let (mut stream, mut block, mut inside) = (0.0f64, None, 0.0f64);
    let mut before: HashMap<&str, f64> = HashMap::new();
    for one in sites {
        let part = forward_order(&one.site).map(|(part, _)| part);
        if part == Some(Part::Stem) {
            // Tables and embeddings are no sums.
            if one.far > 0
                || one.relative.is_infinite()
                || one.formats.is_none() && one.differing * RARELY > one.len
            {
                found.push(Jump { site: one.site.clone(), relative: one.relative, inherited: 0.0 });
            }
            continue;
        }
        if part != block {
            (block, inside) = (part, 0.0);
        }
        let place = place(&one.site, part);
        let inherited = one.unit.max(stream).max(inside).max(before.get(place).copied().unwrap_or(0.0));
        let odd = one.relative.is_infinite() && inherited.is_finite();
        if odd || one.far > 0 && one.relative > TIMES * inherited {
            found.push(Jump { site: one.site.clone(), relative: one.relative, inherited });
        }
        before.insert(place, one.relative);
        // A softmax enlarges what the values average out.
        if !matches!(place, "self_attn.scores" | "self_attn.probs") {
            inside = inside.max(one.relative);
        }
        if matches!(place, "" | "resid_mid") {
            stream = one.relative;
        }
    }
    found
}

/// The name of a site below its block; its whole name outside of blocks.
fn place(site: &str, part: Option<Part>) -> &str {
    match part {
        Some(Part::Block(_)) => site.splitn(4, '.').nth(3).unwrap_or_default(),
        _ => site,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recording of three blocks whose differences are these shares of their size.
    fn recording(of: impl Fn(&str) -> f64) -> Vec<Beside> {
        let inner =
            ["input_layernorm", "self_attn.q_proj", "self_attn.o_proj", "resid_mid", "mlp.down_proj", ""];
        let block = |n: usize| {
            inner.map(|place| format!("model.layers.{n}.{place}").trim_end_matches('.').to_owned())
        };
        let names = (0..3).flat_map(block).chain(["model.norm".to_owned(), "lm_head".to_owned()]);
        let one = |name: String| {
            let a: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.3) / 20.0).collect();
            let b: Vec<f32> = a.iter().map(|x| x * (1.0 + of(&name) as f32)).collect();
            let [a, b] = [a, b].map(|x| Floats::from(x).cast(DType::Bf16));
            Beside::of(&name, &a, &b)
        };
        names.map(one).collect()
    }

    #[test]
    fn an_order_of_summation_makes_no_jump() {
        // Single steps that grow slowly.
        let grown = |name: &str| {
            if name.contains(".0.") {
                0.0
            } else if name.contains(".1.") {
                0.004
            } else {
                0.01
            }
        };
        assert_eq!(jumps(&recording(grown)), []);
    }

    #[test]
    fn a_fault_behind_noise_is_the_first_jump() {
        let faulty = |name: &str| match name {
            "model.layers.2.self_attn.q_proj" => 0.3,
            "model.layers.2.input_layernorm" => 0.004,
            _ if name.starts_with("model.layers.2") || !name.starts_with("model.layers") => 0.05,
            _ => 0.004,
        };
        let found = jumps(&recording(faulty));
        assert_eq!(found.first().map(|jump| jump.site.as_str()), Some("model.layers.2.self_attn.q_proj"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].times() > 10.0);
    }

    #[test]
    fn tables_are_no_sums() {
        let a = Floats::from(vec![1.0f32; 64]);
        let mut values = vec![1.0f32; 64];
        values[3] = 1.01;
        let cos = Beside::of("model.rotary_emb.cos", &a, &Floats::from(values));
        assert_eq!(jumps(&[cos]).len(), 1);
    }

    #[test]
    fn hidden_scores_and_other_masks() {
        let scores = |hidden: f32| Floats::from(vec![1.0f32, 2.0, hidden, 0.5]);
        let name = "model.layers.0.self_attn.scores";
        assert_eq!(Beside::of(name, &scores(f32::NEG_INFINITY), &scores(f32::MIN)).relative, 0.0);
        assert_eq!(Beside::of(name, &scores(f32::MIN), &scores(0.0)).relative, f64::INFINITY);
    }
}
