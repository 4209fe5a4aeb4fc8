//! Ratios, medians and spreads as Markdown.

use std::fmt;

use serde_json::Value;

use crate::bench::platform;

/// What is measured. Samples are seconds, or mebibytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Milliseconds,
    /// For a job that takes this many tokens through.
    TokensPerSecond {
        tokens: usize,
    },
    Mebibytes,
}

impl Unit {
    fn value(self, sample: f64) -> f64 {
        match self {
            Unit::Milliseconds => sample * 1e3,
            Unit::TokensPerSecond { tokens } => tokens as f64 / sample,
            Unit::Mebibytes => sample,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::TokensPerSecond { .. } => "tokens/s",
            Unit::Mebibytes => "MiB",
        }
    }
}

/// One job, measured on both sides in the same rounds.
pub(crate) struct Row {
    what: String,
    unit: Unit,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Row {
    pub(crate) fn new(what: String, unit: Unit) -> Self {
        Row { what, unit, ours: Vec::new(), theirs: Vec::new() }
    }

    /// One round.
    pub(crate) fn push(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = |samples: &[f64]| samples.iter().map(|&s| self.unit.value(s)).collect::<Vec<_>>();
        let (ours, theirs) = (values(&self.ours), values(&self.theirs));
        // The ratio within each round, so that what disturbs both cancels.
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
        write!(
            f,
            "| {} | {} {} | {} | **{}",
            self.what,
            spread(&ours),
            self.unit.name(),
            spread(&theirs),
            spread(&ratios).replacen(' ', "** ", 1) + " |"
        )
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some((sorted[last / 2] + sorted[last.div_ceil(2)]) / 2.0)
}

/// `median (min–max)`, three significant digits.
fn spread(samples: &[f64]) -> String {
    let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let most = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}–{})", short(median(samples).unwrap_or(f64::NAN)), short(least), short(most))
}

fn short(x: f64) -> String {
    let digits = if x >= 100.0 {
        0
    } else if x >= 10.0 {
        1
    } else if x >= 1.0 {
        2
    } else {
        3
    };
    format!("{x:.digits$}")
}

/// The whole page.
pub(crate) struct Table {
    heading: String,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(ours: Value, torch: Value, rounds: usize) -> Self {
        let text = |about: &Value, key: &str| {
            about[key].as_str().map_or_else(|| about[key].to_string(), str::to_owned)
        };
        let heading = format!(
            "{}, {} threads, load {}. ulpscope {}: {}, order {} (for f32, too). PyTorch {}, transformers {}, \
             {} threads. Both sdpa, the founding experiment eager. Medians (least–most) of {rounds} rounds in turns, of \
             at most 5 for audit and whole processes; a ratio is ours/PyTorch's, round by round. `compare` loads \
             both models and measures what each site introduces, too; PyTorch's side of it is the audit again.",
            platform::cpu(),
            text(&ours, "threads"),
            platform::load().unwrap_or_else(|| "unknown".to_owned()),
            text(&ours, "ulpscope"),
            text(&ours, "kernel"),
            text(&ours, "accumulation"),
            text(&torch, "torch"),
            text(&torch, "transformers"),
            text(&torch, "threads"),
        );
        Table { heading, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        // What takes long is seen while it goes on.
        eprintln!("{row}");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.heading)?;
        writeln!(f, "| job | ulpscope | PyTorch | ratio |\n|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_spreads() {
        let mut row = Row::new("forward".to_owned(), Unit::Milliseconds);
        [(0.010, 0.020), (0.012, 0.048), (0.011, 0.022)].into_iter().for_each(|(a, b)| row.push(a, b));
        let expected = "| forward | 11.0 (10.0–12.0) ms | 22.0 (20.0–48.0) | **0.500** (0.250–0.500) |";
        assert_eq!(row.to_string(), expected);
    }

    #[test]
    fn throughput_is_the_other_way_round() {
        let mut row = Row::new("audit".to_owned(), Unit::TokensPerSecond { tokens: 100 });
        row.push(0.5, 5.0);
        assert_eq!(
            row.to_string(),
            "| audit | 200 (200–200) tokens/s | 20.0 (20.0–20.0) | **10.0** (10.0–10.0) |"
        );
    }

    #[test]
    fn medians_of_even_numbers_lie_between() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
