//! How far two arrays go together.

/// Pearson's correlation coefficient of pairs, between -1 and 1; 0 if either side is constant or
/// not finite.
///
/// ```
/// use ulpscope_metrics::correlation;
///
/// let pairs = [(1.0, 5.0), (2.0, 3.0), (3.0, 1.0)];
/// assert!((correlation(pairs) + 1.0).abs() < 1e-12);
/// assert_eq!(correlation([(1.0, 5.0), (1.0, 3.0)]), 0.0);
/// ```
pub fn correlation(pairs: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let [mut n, mut a, mut b, mut aa, mut bb, mut ab] = [0.0; 6];
    for (x, y) in pairs {
        (n, a, b) = (n + 1.0, a + x, b + y);
        (aa, bb, ab) = (aa + x * x, bb + y * y, ab + x * y);
    }
    let variances = (aa - a * a / n) * (bb - b * b / n);
    if variances > 0.0 && variances.is_finite() { (ab - a * b / n) / variances.sqrt() } else { 0.0 }
}
