//! The arithmetic between two roundings.
//!
//! Values are stored in the model's dtype and computed wider: bf16 and f16 in f32, f64 in f64.
//! [`wide`] is exact, [`narrow`] is where a rounding happens; a formula below rounds exactly as
//! often as PyTorch's does.

use burn::tensor::{DType, Device, Tensor};

use ulpscope_floats::Floats;
use ulpscope_kernels::{KernelError, bridge, handles};

/// `x` in the dtype it is computed in: f64 stays, everything else becomes f32. Exact.
pub(crate) fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F64 | DType::F32 => x,
        _ => x.cast(DType::F32),
    }
}

/// `x` rounded to `dtype`, to nearest, ties to even.
pub(crate) fn narrow<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// `x · y` element by element, rounded to the dtype of `x`.
pub(crate) fn mul<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    if here(&x, &y) {
        return zip(x, y, ulpscope_kernels::mul);
    }
    let dtype = x.dtype();
    narrow(wide(x) * wide(y), dtype)
}

/// `x + y` element by element, rounded to the dtype of `x`.
pub(crate) fn add<const D: usize>(x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
    if here(&x, &y) {
        return zip(x, y, ulpscope_kernels::add);
    }
    let dtype = x.dtype();
    narrow(wide(x) + wide(y), dtype)
}

/// `x · scale`, where the scalar is taken in the compute dtype, unrounded, as PyTorch takes a
/// Python float.
pub(crate) fn scale<const D: usize>(x: Tensor<D>, scale: f64) -> Tensor<D> {
    if handles(&x) {
        let by = scale as f32;
        return bridge::map(x, |x| {
            let scaled: Vec<f32> = x.as_f32().iter().map(|x| x * by).collect();
            Ok(Floats::from(scaled).cast(x.dtype()))
        });
    }
    let dtype = x.dtype();
    narrow(wide(x) * scale, dtype)
}

/// Whether two tensors can be combined on this machine, element by element.
fn here<const D: usize>(x: &Tensor<D>, y: &Tensor<D>) -> bool {
    handles(x) && x.dims() == y.dims() && x.dtype() == y.dtype()
}

/// A kernel for each pair of elements.
fn zip<const D: usize>(
    x: Tensor<D>,
    y: Tensor<D>,
    kernel: fn(&Floats, &Floats) -> Result<Floats<'static>, KernelError>,
) -> Tensor<D> {
    let y = y.into_data();
    bridge::map(x, |x| kernel(x, &bridge::view(&y)))
}

/// Applies `f` to every value of a wide tensor, in f64 from f32, rounded once to the compute dtype.
///
/// For functions that a device's own library would round in its own way.
pub(crate) fn map<const D: usize>(x: Tensor<D>, f: impl Fn(f64) -> f64) -> Tensor<D> {
    let (device, shape): (Device, [usize; D]) = (x.device(), x.dims());
    let values = match bridge::floats(&x) {
        Floats::F64(v) => v.iter().map(|&x| f(x)).collect::<Vec<f64>>().into(),
        other => other.to_f32().iter().map(|&x| f(f64::from(x)) as f32).collect::<Vec<f32>>().into(),
    };
    bridge::tensor(values, shape, &device)
}
