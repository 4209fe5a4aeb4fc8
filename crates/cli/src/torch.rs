//! Tensors as PyTorch prints them.
//!
//! Source: `torch/_tensor_str.py`, with its default options: precision 4, threshold 1000, three
//! edge items, 80 columns.

use ulpscope_record::Corner;

const LINE: usize = 80;
const EDGE: usize = 3;

/// `tensor([[[…]]], dtype=…)` for a tensor `[1, T, V]` of which only the corners are known.
pub(crate) fn tensor(corner: &Corner) -> String {
    let leading = corner.shape.len().saturating_sub(2);
    let (rows, columns) = match corner.shape[..] {
        [.., rows, columns] => (rows, columns),
        [columns] => (1, columns),
        [] => (1, 1),
    };
    let format = Format::of(corner.rows.iter().flatten().copied());
    let depth = leading + usize::from(corner.shape.len() > 1);
    let indent = "tensor(".len() + depth;
    let mut lines: Vec<String> =
        corner.rows.iter().map(|row| vector(row, columns > 2 * EDGE, indent, &format)).collect();
    if rows > 2 * EDGE {
        lines.insert(EDGE.min(lines.len()), "...".to_owned());
    }
    let body = lines.join(&format!(",\n{}", " ".repeat(indent)));
    let text = format!("tensor({}{body}{}", "[".repeat(depth), "]".repeat(depth));
    if corner.dtype == "f32" {
        return text + ")";
    }
    let suffix = format!("dtype={}", torch_name(&corner.dtype));
    let last = text.rsplit('\n').next().unwrap_or_default().chars().count();
    let separator =
        if last + suffix.len() + 3 > LINE { format!(",\n{}", " ".repeat(7)) } else { ", ".to_owned() };
    format!("{text}{separator}{suffix})")
}

fn torch_name(dtype: &str) -> String {
    dtype.parse::<ulpscope_floats::DType>().map_or_else(|_| dtype.to_owned(), |d| d.torch_name().to_owned())
}

fn vector(row: &[f64], summarised: bool, indent: usize, format: &Format) -> String {
    let mut items: Vec<String> = row.iter().map(|x| format.number(*x)).collect();
    if summarised {
        items.insert(EDGE.min(items.len()), " ...".to_owned());
    }
    let per_line = ((LINE.saturating_sub(indent)) / (format.width + 2)).max(1);
    let lines: Vec<String> = items.chunks(per_line).map(|line| line.join(", ")).collect();
    format!("[{}]", lines.join(&format!(",\n{}", " ".repeat(indent + 1))))
}

/// How PyTorch prints the numbers of one tensor: it decides from those it shows.
struct Format {
    whole: bool,
    scientific: bool,
    width: usize,
}

impl Format {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let shown = values.filter(|x| x.is_finite() && *x != 0.0);
        let mut format = Format { whole: shown.clone().all(|x| x == x.ceil()), scientific: false, width: 1 };
        let largest = shown.clone().fold(0.0, |m: f64, x| m.max(x.abs()));
        let smallest = shown.clone().fold(f64::INFINITY, |m, x| m.min(x.abs()));
        if largest > 0.0 {
            let spread = largest / smallest > 1000.0 || largest > 1e8;
            format.scientific = spread || (!format.whole && smallest < 1e-4);
            let width = shown.map(|x| format.text(x).chars().count()).max();
            format.width = width.unwrap_or(1);
        }
        format
    }

    fn number(&self, x: f64) -> String {
        let text = self.text(x);
        format!("{text:>width$}", width = self.width)
    }

    fn text(&self, x: f64) -> String {
        if !x.is_finite() {
            return if x.is_nan() {
                "nan".to_owned()
            } else if x > 0.0 {
                "inf".to_owned()
            } else {
                "-inf".to_owned()
            };
        }
        if self.scientific {
            let text = format!("{x:.4e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        } else if self.whole {
            format!("{x:.0}.")
        } else {
            format!("{x:.4}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corner(shape: &[usize], dtype: &str, rows: &[&[f64]]) -> Corner {
        Corner {
            shape: shape.to_vec(),
            dtype: dtype.to_owned(),
            rows: rows.iter().map(|r| r.to_vec()).collect(),
        }
    }

    /// Printed by PyTorch for `torch.arange(3 * 2000).reshape(1, 3, 2000).bfloat16() / 7`.
    #[test]
    fn a_large_bf16_tensor() {
        let rows: [&[f64]; 3] = [
            &[0.0, 0.142578125, 0.28515625, 285.0, 286.0, 286.0],
            &[286.0, 286.0, 286.0, 572.0, 572.0, 572.0],
            &[572.0, 572.0, 572.0, 856.0, 856.0, 856.0],
        ];
        let text = tensor(&corner(&[1, 3, 2000], "bf16", &rows));
        assert!(text.starts_with("tensor([[[0.0000e+00, 1.4258e-01, 2.8516e-01,"), "{text}");
        assert!(text.ends_with("dtype=torch.bfloat16)"), "{text}");
    }

    #[test]
    fn ordinary_numbers_stand_in_columns() {
        let rows: [&[f64]; 2] = [&[19.125, -2.5, 3.0, 1.0, 2.0, 7.96875], &[0.5, 1.0, 2.0, 3.0, -11.0, 5.0]];
        let text = tensor(&corner(&[1, 2, 49152], "bf16", &rows));
        assert_eq!(
            text,
            "tensor([[[ 19.1250,  -2.5000,   3.0000,  ...,   1.0000,   2.0000,   7.9688],\n         \
             [  0.5000,   1.0000,   2.0000,  ...,   3.0000, -11.0000,   5.0000]]],\n       dtype=torch.bfloat16)"
        );
    }

    #[test]
    fn whole_numbers_and_f32() {
        assert_eq!(tensor(&corner(&[1, 1, 2], "f32", &[&[1.0, -3.0]])), "tensor([[[ 1., -3.]]])");
    }
}
