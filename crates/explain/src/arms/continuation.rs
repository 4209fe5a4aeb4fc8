//! Greedy continuations: what both arms say after a prompt, and where they begin to say something
//! else.

use ulpscope_compare::{NamedArm, Plan};
use ulpscope_decoder::{Accumulation, Model, Parameter, Semantics, bridge};
use ulpscope_floats::Floats;
use ulpscope_metrics::{compare_logits, difference, nll};
use ulpscope_record::ShapeFloor;

/// Tokens at a prompt's end that are continued.
const CONTEXT: usize = 512;
/// Bytes of parameters that both arms may hold in memory together.
const MEMORY: u64 = 3 << 30;
/// The most likely tokens that a comparison of logits looks at.
const TOP: usize = 10;

/// What the two arms say after one prompt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Continuation {
    pub(crate) prompt: usize,
    /// Tokens at the prompt's end that were kept.
    pub(crate) context: usize,
    /// Of the reference and of the arm, equally many.
    pub(crate) ids: [Vec<u32>; 2],
    pub(crate) fork: Option<Fork>,
    /// The reference's logits when tokens are read one by one, against those when they are read at
    /// once.
    pub(crate) shape: Option<ShapeFloor>,
}

/// Where two continuations part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fork {
    /// The first token that differs, counted from 0.
    pub(crate) token: usize,
    /// What the reference's most likely token is ahead of the next by, in logits.
    pub(crate) margin: f64,
    /// The same in probability.
    pub(crate) margin_probability: f64,
    /// The most that another order of summation changes any logit of the reference there.
    pub(crate) noise: Option<f64>,
}

/// Why continuations can't be had, if they can't: both arms have to fit in memory.
pub(crate) fn too_large(plan: &Plan) -> Option<String> {
    let size = |arm: &NamedArm| -> u64 {
        let elements = |p: Parameter| p.param.shape.iter().map(|&n| n as u64).product::<u64>();
        let width = arm.arm.dtype().size() as u64;
        arm.arm.architecture().parameters().into_iter().map(elements).sum::<u64>() * width
    };
    let (a, b) = (&plan.arms[0], &plan.arms[1]);
    // What has equal bits is held once, which is nearly everything where only the way of loading
    // differs.
    let shared = std::ptr::eq(a.arm.checkpoint(), b.arm.checkpoint()) && a.arm.dtype() == b.arm.dtype();
    let bytes = if shared { size(a) } else { size(a) + size(b) };
    (bytes > MEMORY).then(|| {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        format!(
            "Greedy continuations were not run: the parameters of both arms take {:.1} GiB, and {:.0} are held in \
             memory at most",
            gib(bytes),
            gib(MEMORY)
        )
    })
}

/// Continues every prompt in both arms by `count` tokens, the most likely one each time.
///
/// Keys and values of what was read are kept, as transformers' `generate` does it. `orders` are
/// those that tell how much of a margin is noise.
pub(crate) fn continuations(
    plan: &Plan,
    models: &[Model],
    orders: &[Accumulation],
    count: usize,
) -> Vec<Continuation> {
    let [a, b] = models else { return Vec::new() };
    let semantics = [0, 1].map(|i| &plan.arms[i].semantics);
    let most = [0, 1].map(|i| plan.arms[i].arm.architecture().max_tokens()).into_iter().min().unwrap_or(0);
    let one = |(prompt, ids): (usize, &Vec<u32>)| {
        let context = &ids[ids.len() - ids.len().min(CONTEXT)..];
        let count = count.min(most.saturating_sub(context.len()));
        if count == 0 {
            return None;
        }
        let first = greedy(a, semantics[0], context, count);
        let second = greedy(b, semantics[1], context, count);
        let parted = (0..count).find(|&i| first.ids[i] != second.ids[i]);
        let read = |ids: &[u32], semantics: &Semantics, rows: usize| {
            bridge::floats(&a.logits(a.read(ids, semantics, &mut Vec::new()), rows, semantics)).into_owned()
        };
        let fork = parted.map(|token| {
            let so_far = [context, &first.ids[..token]].concat();
            let row = read(&so_far, semantics[0], 1);
            let noise = orders.iter().map(|&order| {
                let mut semantics = semantics[0].clone();
                semantics.base.accumulation = order;
                difference(&row, &read(&so_far, &semantics, 1)).map_or(f64::NAN, |d| d.max_abs)
            });
            let noise = (!orders.is_empty()).then(|| noise.fold(0.0, f64::max));
            let (margin, margin_probability) = lead(&first.logits[token]);
            Fork { token, margin, margin_probability, noise }
        });
        let whole = [context, &first.ids[..count - 1]].concat();
        let shape = shape(prompt, &read(&whole, semantics[0], count), &first.logits);
        Some(Continuation {
            prompt,
            context: context.len(),
            ids: [first.ids, second.ids],
            fork,
            shape: Some(shape),
        })
    };
    plan.prompts.iter().enumerate().filter_map(one).collect()
}

/// Tokens, and the logits `[V]` that each was chosen by.
struct Greedy {
    ids: Vec<u32>,
    logits: Vec<Floats<'static>>,
}

fn greedy(model: &Model, semantics: &Semantics, prompt: &[u32], count: usize) -> Greedy {
    let mut past = Vec::new();
    let mut said = Greedy { ids: Vec::with_capacity(count), logits: Vec::with_capacity(count) };
    let mut next = prompt.to_vec();
    while said.ids.len() < count {
        let stream = model.read(&next, semantics, &mut past);
        let row = bridge::floats(&model.logits(stream, 1, semantics)).into_owned();
        let id = u32::try_from(largest(&row).0).expect("token ids are u32");
        said.ids.push(id);
        said.logits.push(row);
        next = vec![id];
    }
    said
}

/// The index of the largest logit, and how far the next one is behind: of equal ones the lower
/// index, NaN before all, as in the rest of a record.
fn largest(row: &Floats) -> (usize, f64) {
    let logits = row.to_f64();
    let before = |a: f64, b: f64| a > b || (a.is_nan() && !b.is_nan());
    let (mut first, mut second) = (0, f64::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate().skip(1) {
        if before(logit, logits[first]) {
            (first, second) = (id, logits[first]);
        } else if before(logit, second) {
            second = logit;
        }
    }
    (first, logits.get(first).map_or(f64::NAN, |most| most - second))
}

/// What the most likely token is ahead of the next by, in logits and in probability.
fn lead(row: &Floats) -> (f64, f64) {
    let (first, margin) = largest(row);
    let id = u32::try_from(first).expect("token ids are u32");
    let probability = nll(row, row.len(), &[id]).first().map_or(f64::NAN, |nll| (-nll).exp());
    (margin, probability * (1.0 - (-margin).exp()))
}

/// Logits of tokens read at once, `[rows, V]`, beside those of the same tokens read one by one.
fn shape(prompt: usize, at_once: &Floats, one_by_one: &[Floats]) -> ShapeFloor {
    let positions = one_by_one.len();
    let vocabulary = at_once.len() / positions.max(1);
    let mut found = ShapeFloor {
        what: "the reference reads the tokens of its continuation one by one, against all at once".to_owned(),
        prompt,
        positions,
        equal: 0.0,
        kl: 0.0,
        max_abs: 0.0,
        top1_agreement: 0.0,
    };
    let share = 1.0 / positions.max(1) as f64;
    for (i, row) in one_by_one.iter().enumerate() {
        let whole = at_once.slice(i * vocabulary..(i + 1) * vocabulary);
        let apart = difference(&whole, row).expect("rows of one vocabulary");
        let kl = compare_logits(&whole, row, vocabulary, TOP).expect("rows of one vocabulary");
        found.equal += apart.equal_fraction() * share;
        found.max_abs = found.max_abs.max(apart.max_abs);
        found.kl += kl.positions.iter().map(|p| p.kl).sum::<f64>() * share;
        found.top1_agreement += kl.positions.iter().filter(|p| p.agrees()).count() as f64 * share;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_over_the_next() {
        let row = Floats::from(vec![0.0f64, 4f64.ln(), 3f64.ln(), -1e9]);
        let (first, margin) = largest(&row);
        assert_eq!(first, 1);
        assert!((margin - (4.0f64 / 3.0).ln()).abs() < 1e-15);
        let (_, probability) = lead(&row);
        assert!((probability - 1.0 / 8.0).abs() < 1e-12, "{probability}");
        // A tie goes to the lower index; NaN goes first and has no lead.
        assert_eq!(largest(&Floats::from(vec![1.0f64, 2.0, 2.0])), (1, 0.0));
        let (first, margin) = largest(&Floats::from(vec![1.0f64, f64::NAN, 2.0]));
        assert!(first == 1 && margin.is_nan());
    }

    #[test]
    fn a_shape_that_changes_nothing_is_zero() {
        let rows = [Floats::from(vec![1.0f32, 2.0]), Floats::from(vec![0.5f32, -1.0])];
        let same = shape(3, &Floats::from(vec![1.0f32, 2.0, 0.5, -1.0]), &rows);
        assert_eq!((same.prompt, same.positions, same.equal, same.kl, same.max_abs), (3, 2, 1.0, 0.0, 0.0));
        let other = shape(3, &Floats::from(vec![1.0f32, 2.0, -1.0, 0.5]), &rows);
        assert_eq!((other.equal, other.max_abs, other.top1_agreement), (0.5, 1.5, 0.5));
        assert!(other.kl > 0.0);
    }
}
