//! Between burn's tensors and plain runs of numbers, bit for bit.

use burn::tensor::{Device, Tensor, TensorData};
use ulpscope_floats::{DType, Floats, bf16, f16};

/// The tensor with these values, in their own dtype.
///
/// # Panics
/// If `shape` does not hold exactly `values.len()` elements.
pub fn tensor<const D: usize>(values: Floats, shape: [usize; D], device: &Device) -> Tensor<D> {
    assert_eq!(
        values.len(),
        shape.iter().product::<usize>(),
        "{} values do not fill {shape:?}",
        values.len()
    );
    let data = match values {
        Floats::F64(v) => TensorData::new(v.into_owned(), shape),
        Floats::F32(v) => TensorData::new(v.into_owned(), shape),
        Floats::Bf16(v) => TensorData::new(v.into_owned(), shape),
        Floats::F16(v) => TensorData::new(v.into_owned(), shape),
    };
    let dtype = data.dtype();
    Tensor::from_data(data, (device, dtype))
}

/// The values of a tensor, row-major, in its own dtype.
///
/// # Panics
/// If the device fails to hand them over, or the dtype is none of [`DType`]'s.
pub fn floats<const D: usize>(tensor: &Tensor<D>) -> Floats<'static> {
    data_floats(tensor.to_data())
}

fn data_floats(data: TensorData) -> Floats<'static> {
    fn vec<E: burn::tensor::Element>(data: TensorData) -> Vec<E> {
        data.try_into_vec::<E>().expect("the dtype was just asked")
    }
    match dtype_of(data.dtype()) {
        DType::F64 => Floats::from(vec::<f64>(data)),
        DType::F32 => Floats::from(vec::<f32>(data)),
        DType::Bf16 => Floats::from(vec::<bf16>(data)),
        DType::F16 => Floats::from(vec::<f16>(data)),
    }
}

/// The values of a tensor that is no longer needed, without a copy if it alone holds them.
///
/// # Panics
/// As [`floats`].
pub fn into_floats<const D: usize>(tensor: Tensor<D>) -> Floats<'static> {
    data_floats(tensor.into_data())
}

/// The values of a tensor's data, borrowed.
///
/// # Panics
/// If the dtype is none of [`DType`]'s.
pub fn view(data: &TensorData) -> Floats<'_> {
    fn slice<E: burn::tensor::Element>(data: &TensorData) -> &[E] {
        data.as_slice::<E>().expect("the dtype was just asked")
    }
    match dtype_of(data.dtype()) {
        DType::F64 => Floats::from(slice::<f64>(data)),
        DType::F32 => Floats::from(slice::<f32>(data)),
        DType::Bf16 => Floats::from(slice::<bf16>(data)),
        DType::F16 => Floats::from(slice::<f16>(data)),
    }
}

/// The dtype of a tensor.
///
/// # Panics
/// If it is none of [`DType`]'s; the model makes no other.
pub fn dtype<const D: usize>(tensor: &Tensor<D>) -> DType {
    dtype_of(tensor.dtype())
}

fn dtype_of(dtype: burn::tensor::DType) -> DType {
    match dtype {
        burn::tensor::DType::F64 => DType::F64,
        burn::tensor::DType::F32 => DType::F32,
        burn::tensor::DType::BF16 => DType::Bf16,
        burn::tensor::DType::F16 => DType::F16,
        other => panic!("a tensor of {other:?} is no activation"),
    }
}

/// burn's name for a dtype.
pub fn burn_dtype(dtype: DType) -> burn::tensor::DType {
    match dtype {
        DType::F64 => burn::tensor::DType::F64,
        DType::F32 => burn::tensor::DType::F32,
        DType::Bf16 => burn::tensor::DType::BF16,
        DType::F16 => burn::tensor::DType::F16,
    }
}

/// Applies a kernel to the values of a tensor. The result has the tensor's shape and whatever dtype
/// the kernel gives.
///
/// # Panics
/// If the kernel refuses, or returns another number of values: a caller's mistake in both cases.
pub fn map<const D: usize>(
    x: Tensor<D>,
    kernel: impl FnOnce(&Floats) -> Result<Floats<'static>, crate::KernelError>,
) -> Tensor<D> {
    let (shape, device) = (x.dims(), x.device());
    let data = x.into_data();
    let y = kernel(&view(&data)).unwrap_or_else(|error| panic!("a kernel was misused: {error}"));
    tensor(y, shape, &device)
}
