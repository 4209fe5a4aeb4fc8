//! The same comparison, row by row.

use rayon::prelude::*;
use ulpscope_floats::Floats;

use crate::difference::{Difference, difference, same_length};
use crate::error::MetricsError;

/// Compares two arrays of `rows` rows each, all of one width: `[T, C]`, or `[1, T, C]`, by token.
///
/// Each entry is what [`difference`] says of that row alone.
///
/// # Errors
/// [`MetricsError::LengthMismatch`], and [`MetricsError::Uneven`] if `rows` does not divide the
/// length (0 rows divide 0 elements only).
pub fn per_row(a: &Floats, b: &Floats, rows: usize) -> Result<Vec<Difference>, MetricsError> {
    let len = same_length(a, b)?;
    if len.checked_rem(rows).unwrap_or(len) != 0 {
        return Err(MetricsError::Uneven { len, parts: rows, what: "rows" });
    }
    let width = len.checked_div(rows).unwrap_or(0);
    let row = |i: usize| {
        let range = i * width..(i + 1) * width;
        difference(&a.slice(range.clone()), &b.slice(range))
    };
    let rows_worth_a_thread = (1 << 17) / width.max(1) + 1;
    (0..rows).into_par_iter().with_min_len(rows_worth_a_thread).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_compared_alone() {
        let a = Floats::from(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = Floats::from(vec![1.0f32, 2.0, 3.0, 4.5, 4.0, 6.0]);
        let rows = per_row(&a, &b, 3).unwrap();
        let found: Vec<_> = rows.iter().map(|d| (d.len, d.equal, d.max_abs, d.max_index)).collect();
        assert_eq!(found, [(2, 2, 0.0, None), (2, 1, 0.5, Some(1)), (2, 1, 1.0, Some(0))]);
        let merged = rows.into_iter().fold(Difference::EMPTY, Difference::merge);
        assert_eq!(merged, difference(&a, &b).unwrap());
    }

    #[test]
    fn rows_must_divide_the_length() {
        let five = Floats::from(vec![0.0f32; 5]);
        let error = per_row(&five, &five, 2).unwrap_err();
        assert_eq!(error.to_string(), "5 elements do not divide into 2 rows; check the tensor's shape");
        assert!(per_row(&five, &five, 0).is_err());
        let none = Floats::from(Vec::<f32>::new());
        assert_eq!(per_row(&none, &none, 0).unwrap(), []);
        assert_eq!(per_row(&none, &none, 2).unwrap(), [Difference::EMPTY; 2]);
        assert_eq!(per_row(&five, &none, 1), Err(MetricsError::LengthMismatch { a: 5, b: 0 }));
    }
}
