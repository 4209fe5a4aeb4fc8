//! A tree of a sum as arithmetic, short where it repeats itself.

use crate::tree::Step;

/// The longest pattern of a run that is looked for.
const LONGEST_PATTERN: usize = 8;
/// Characters up to which a part that comes twice is written twice.
const SHORT: usize = 20;

/// Parentheses first, then left to right.
pub(crate) fn text(steps: &[Step]) -> String {
    // The first step of the part that ends at each step.
    let mut starts = Vec::with_capacity(steps.len());
    let mut open: Vec<usize> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let start = match step {
            Step::Leaf(_) => at,
            Step::Add(n) => open.split_off(open.len() - n)[0],
        };
        starts.push(start);
        open.push(start);
    }
    let Some(last) = steps.len().checked_sub(1) else { return String::new() };
    Text { steps, starts: &starts }.part(last).0
}

/// A part of the tree: the steps that it consists of, named by the last.
type Part = usize;

struct Text<'a> {
    steps: &'a [Step],
    starts: &'a [usize],
}

impl Text<'_> {
    /// The text of a part, and whether it is safe beside a `+` without parentheses.
    fn part(&self, part: Part) -> (String, bool) {
        match self.steps[part] {
            Step::Leaf(k) => (k.to_string(), true),
            Step::Add(2) => self.chain(self.terms(part)),
            Step::Add(_) => {
                let parts: Vec<_> = self.parts(part).into_iter().map(|p| self.part(p).0).collect();
                (format!("{{{}}}", parts.join(", ")), true)
            }
        }
    }

    /// The operands of an addition, in the order of their smallest index.
    fn parts(&self, part: Part) -> Vec<Part> {
        let Step::Add(n) = self.steps[part] else { return Vec::new() };
        let mut parts = Vec::with_capacity(n);
        let mut last = part;
        for _ in 0..n {
            parts.push(last - 1);
            last = self.starts[last - 1];
        }
        parts.reverse();
        parts
    }

    fn steps(&self, part: Part) -> &[Step] {
        &self.steps[self.starts[part]..=part]
    }

    /// The terms that are added left to right: at each addition, the longer operand is the sum so
    /// far.
    fn terms(&self, part: Part) -> Vec<Part> {
        let mut terms = Vec::new();
        let mut sum = part;
        while let (Step::Add(2), [a, b]) = (self.steps[sum], &self.parts(sum)[..]) {
            let (long, short) = (self.steps(*a).len(), self.steps(*b).len());
            if long == short {
                terms.extend([*b, *a]);
                terms.reverse();
                // The two operands of a first addition have no order. The distances of the others
                // tell which one to print first.
                if terms.len() > 3 && self.distance(terms[1], terms[2]) != self.distance(terms[0], terms[1]) {
                    let swapped = self.distance(terms[0], terms[3]);
                    if swapped.is_some() && swapped == self.distance(terms[1], terms[2]) {
                        terms.swap(0, 1);
                    }
                }
                return terms;
            }
            terms.push(if long > short { *b } else { *a });
            sum = if long > short { *a } else { *b };
        }
        terms.push(sum);
        terms.reverse();
        terms
    }

    /// How far part `b` is from part `a`, if it is the same but for that.
    fn distance(&self, a: Part, b: Part) -> Option<isize> {
        let (a, b) = (self.steps(a), self.steps(b));
        let first = |steps: &[Step]| if let [Step::Leaf(k), ..] = steps { *k as isize } else { 0 };
        let distance = first(b) - first(a);
        let same = |(a, b): (&Step, &Step)| match (a, b) {
            (Step::Leaf(a), Step::Leaf(b)) => *b as isize - *a as isize == distance,
            (a, b) => a == b,
        };
        (a.len() == b.len() && a.iter().zip(b).all(same)).then_some(distance)
    }

    /// Terms in sequence, runs of alike ones written once.
    fn chain(&self, terms: Vec<Part>) -> (String, bool) {
        let mut texts: Vec<String> = Vec::new();
        let mut at = 0;
        let mut brackets = false;
        while at < terms.len() {
            let (pattern, repeats, distance) = self.run(&terms[at..]);
            let run = &terms[at..at + pattern * repeats];
            let leaves = run.iter().all(|&part| matches!(self.steps[part], Step::Leaf(_)));
            brackets = false;
            if leaves && run.len() > 3 && repeats > 1 {
                let name = |part: &Part| self.part(*part).0;
                let ends: Vec<_> = if pattern == 1 {
                    vec![name(&run[0]), name(&run[1]), "…".to_owned(), name(&run[run.len() - 1])]
                } else if repeats == 2 {
                    run.iter().map(name).collect()
                } else {
                    let two = run[..2 * pattern].iter().map(name);
                    let last = run[run.len() - pattern..].iter().map(name);
                    two.chain(["…".to_owned()]).chain(last).collect()
                };
                texts.push(ends.join("+"));
            } else if pattern == 1 && repeats > 1 && !leaves {
                let inner = self.part(run[0]).0;
                if repeats == 2 && inner.chars().count() <= SHORT {
                    texts.extend(run.iter().map(|&part| format!("({})", self.part(part).0)));
                } else {
                    texts.push(format!("[{repeats} times, {distance} apart: {inner}]"));
                    brackets = true;
                }
            } else {
                texts.extend(run.iter().map(|&part| {
                    let (text, safe) = self.part(part);
                    if safe { text } else { format!("({text})") }
                }));
            }
            at += run.len();
        }
        let safe = texts.len() == 1 && brackets;
        (texts.join("+"), safe)
    }

    /// The best run that the terms begin with: the length of its pattern, how often that comes, how
    /// far apart.
    fn run(&self, terms: &[Part]) -> (usize, usize, isize) {
        let mut best = (1, 1, 0);
        for pattern in 1..=LONGEST_PATTERN.min(terms.len() / 2) {
            let Some(distance) = self.distance(terms[0], terms[pattern]) else { continue };
            let alike = (pattern..terms.len())
                .take_while(|&i| self.distance(terms[i - pattern], terms[i]) == Some(distance))
                .count();
            let repeats = 1 + alike / pattern;
            // A longer pattern must pay: it takes more words.
            if repeats > 1 && pattern * repeats > 2 * best.0 * best.1 {
                best = (pattern, repeats, distance);
            }
        }
        if best.1 == 1
            && terms.len() > 1
            && !matches!(self.steps[terms[0]], Step::Leaf(_))
            && let Some(distance) = self.distance(terms[0], terms[1])
        {
            return (1, 2, distance);
        }
        best
    }
}
