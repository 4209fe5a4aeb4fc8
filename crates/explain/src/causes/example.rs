//! Examples of causes, made by the cause itself.

use ulpscope_floats::Floats;

/// An example of a cause.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Example {
    /// A departure from a model's own arithmetic, as behind `@` in a recipe.
    Departure(&'static str),
    /// Both sides of a weight `[32, 32]`, made of the values of one.
    Weight(fn(Vec<f32>) -> [Floats<'static>; 2]),
}

/// The values that examples start from, `[32, 32]`.
#[cfg(test)]
pub(super) fn weight() -> Vec<f32> {
    (0..1024).map(|i: usize| ((i * 7919 % 1009) as f32 - 500.0) / 300.0).collect()
}

/// A weight, and what becomes of each of its elements.
pub(super) fn each(values: Vec<f32>, change: impl Fn(usize, f32) -> f32) -> [Floats<'static>; 2] {
    let changed: Vec<f32> = values.iter().enumerate().map(|(i, &x)| change(i, x)).collect();
    [Floats::from(values), Floats::from(changed)]
}

/// A weight, and the same with its elements elsewhere: `from` says from where each is taken.
pub(super) fn moved(values: Vec<f32>, from: impl Fn(usize) -> usize) -> [Floats<'static>; 2] {
    let moved: Vec<f32> = (0..values.len()).map(|i| values[from(i)]).collect();
    [Floats::from(values), Floats::from(moved)]
}

/// A weight, and what a conversion makes of it.
pub(super) fn to(
    values: Vec<f32>,
    convert: impl Fn(&Floats<'static>) -> Floats<'static>,
) -> [Floats<'static>; 2] {
    let values = Floats::from(values);
    let converted = convert(&values);
    [values, converted]
}
