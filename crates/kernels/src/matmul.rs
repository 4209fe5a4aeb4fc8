//! Matrix products of tensors: by this crate's kernels where they can, by the device's own
//! otherwise.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use ulpscope_floats::{DType, Floats};

use crate::{Accumulation, PackedWeight, Path, Projection, Weight, bridge, linear};

/// Whether products on this device go through this crate's kernels, so that their order of
/// summation is the one asked for. f64 is the exception: it serves as the truth, and is multiplied
/// by the device.
pub fn owns(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether this tensor's operations go through this crate's kernels: see [`owns`].
pub fn handles<const D: usize>(x: &Tensor<D>) -> bool {
    owns(&x.device()) && bridge::dtype(x) != DType::F64
}

/// What multiplies on this device, for a record: the kernels and the CPU path, or the device
/// itself.
pub fn name(device: &Device) -> String {
    if owns(device) {
        let path = Path::detect().map_or_else(|error| error.to_string(), |path| path.name().to_owned());
        format!("ulpscope-kernels, {path}")
    } else {
        "burn, in the device's own order".to_owned()
    }
}

/// `y = x Wᵀ + b`, rounded once.
///
/// The weight stays in its storage dtype: packed for the kernels, or as a tensor on a device that
/// multiplies itself.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Place,
    outputs: usize,
    inputs: usize,
    /// The weight's storage dtype.
    dtype: DType,
    device: Device,
}

#[derive(Clone, Debug)]
enum Place {
    Packed {
        weight: Arc<PackedWeight>,
        bias: Option<Arc<Floats<'static>>>,
    },
    /// The weight in the compute dtype, so that a 16-bit one is widened once, not at every call.
    Device(Box<(Tensor<2>, Option<Tensor<1>>)>),
}

impl Linear {
    /// From PyTorch's layout: `weight` `[out, in]`, `bias` `[out]`.
    ///
    /// # Panics
    /// If the weight has no elements.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let ([outputs, inputs], dtype, device) = (weight.dims(), bridge::dtype(&weight), weight.device());
        let place = if owns(&device) && dtype != DType::F64 {
            let data = weight.into_data();
            let packed =
                PackedWeight::new(&bridge::view(&data), outputs, inputs).expect("its shape holds its values");
            Place::Packed { weight: Arc::new(packed), bias: bias.map(|b| Arc::new(bridge::floats(&b))) }
        } else {
            Place::Device(Box::new((wide(weight), bias)))
        };
        Linear { weight: place, outputs, inputs, dtype, device }
    }

    /// The same from plain values; the weight has the shape `[out, in]`.
    ///
    /// # Panics
    /// If there are not as many values as the shape says.
    pub fn of_values(
        weight: &Floats,
        bias: Option<&Floats>,
        [outputs, inputs]: [usize; 2],
        device: &Device,
    ) -> Self {
        if !owns(device) || weight.dtype() == DType::F64 {
            let bias = bias.map(|bias| bridge::tensor(bias.view(), [outputs], device));
            return Linear::new(bridge::tensor(weight.view(), [outputs, inputs], device), bias);
        }
        let packed = PackedWeight::new(weight, outputs, inputs).expect("its shape holds its values");
        let bias = bias.map(|bias| Arc::new(bias.view().into_owned()));
        let (place, device) = (Place::Packed { weight: Arc::new(packed), bias }, device.clone());
        Linear { weight: place, outputs, inputs, dtype: weight.dtype(), device }
    }

    /// The shape of the weight, `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// The weight's storage dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The weight, `[out, in]`, bit for bit in its storage dtype.
    pub fn weight(&self) -> Tensor<2> {
        match &self.weight {
            Place::Packed { weight, .. } => {
                let rows: Vec<usize> = (0..self.outputs).collect();
                bridge::tensor(weight.rows(&rows), self.shape(), &self.device)
            }
            // Widening was exact, and is undone.
            Place::Device(layer) => layer.0.clone().cast(bridge::burn_dtype(self.dtype)),
        }
    }

    /// The bias, `[out]`, bit for bit, if there is one.
    pub fn bias(&self) -> Option<Tensor<1>> {
        match &self.weight {
            Place::Packed { bias, .. } => {
                bias.as_ref().map(|bias| bridge::tensor(bias.view(), [self.outputs], &self.device))
            }
            Place::Device(layer) => layer.1.clone(),
        }
    }

    /// The layer with another bias, `[out]`.
    #[must_use]
    pub fn with_bias(mut self, new: Tensor<1>) -> Self {
        match &mut self.weight {
            Place::Packed { bias, .. } => *bias = Some(Arc::new(bridge::into_floats(new))),
            Place::Device(layer) => layer.1 = Some(new),
        }
        self
    }

    /// The layer on a device, bit for bit: packed again if the kernels multiply there.
    #[must_use]
    pub fn to_device(self, device: &Device) -> Self {
        if self.device == *device {
            return self;
        }
        Linear::new(self.weight().to_device(device), self.bias().map(|bias| bias.to_device(device)))
    }

    /// The device that holds the weight.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// Rows of the weight, `[1, T, in]`, bit for bit in its storage dtype: an embedding, which may
    /// share its weight with an output layer.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn rows(&self, rows: &[usize]) -> Tensor<3> {
        match &self.weight {
            Place::Packed { weight, .. } => {
                bridge::tensor(weight.rows(rows), [1, rows.len(), self.inputs], &self.device)
            }
            Place::Device(layer) => {
                let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
                let shape = [rows.len()];
                let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, shape), &self.device);
                // Widening was exact, and is undone.
                layer.0.clone().select(0, rows).cast(bridge::burn_dtype(self.dtype)).unsqueeze()
            }
        }
    }

    /// The packed weight and its bias, if this crate's kernels multiply.
    pub fn projection(&self) -> Option<Projection<'_>> {
        match &self.weight {
            Place::Packed { weight, bias } => {
                Some(Projection { weight: (&**weight).into(), bias: bias.as_deref() })
            }
            Place::Device(_) => None,
        }
    }

    /// # Shapes
    /// - `x`: `[B, T, in]`, returns `[B, T, out]`
    ///
    /// # Precision
    /// Products and sums in f32, in the order `order` (f64 for f64, in the device's order), the
    /// bias added before the only rounding, to the dtype of `x`.
    ///
    /// # Panics
    /// If `x` has another width.
    pub fn forward(&self, x: Tensor<3>, order: Accumulation) -> Tensor<3> {
        let [batch, tokens, inputs] = x.dims();
        assert_eq!(inputs, self.inputs, "a linear layer of {} inputs was given {inputs}", self.inputs);
        let (shape, device, dtype) = ([batch, tokens, self.outputs], x.device(), bridge::dtype(&x));
        match &self.weight {
            Place::Packed { weight, bias } => {
                let data = x.into_data();
                let y = linear(&bridge::view(&data), (&**weight).into(), bias.as_deref(), order, dtype);
                bridge::tensor(y.expect("shapes and dtypes were checked"), shape, &device)
            }
            Place::Device(layer) => {
                let (weight, bias) = &**layer;
                let x = wide(x).reshape([batch * tokens, inputs]);
                let mut y = x.matmul(weight.clone().transpose());
                if let Some(bias) = bias {
                    y = y + wide(bias.clone()).unsqueeze();
                }
                y.cast(bridge::burn_dtype(dtype)).reshape(shape)
            }
        }
    }
}

/// `a bᵀ` for each head.
///
/// # Shapes
/// - `a`: `[1, H, M, K]`, `b`: `[1, G, N, K]` with G dividing H: each of `b` serves H / G
///   neighbours of `a`
/// - returns `[1, H, M, N]`
///
/// # Precision
/// As [`Linear::forward`], rounded once to `out`.
pub fn matmul_transposed(a: Tensor<4>, b: Tensor<4>, order: Accumulation, out: DType) -> Tensor<4> {
    let ([batch, heads, m, k], [_, groups, n, _]) = (a.dims(), b.dims());
    let device = a.device();
    if !owns(&device) || bridge::dtype(&a) == DType::F64 {
        let b = share(b, heads / groups);
        return wide(a).matmul(wide(b).transpose()).cast(bridge::burn_dtype(out));
    }
    let (a, b) = (a.into_data(), b.into_data());
    let (a, b) = (bridge::view(&a), bridge::view(&b));
    let products = (0..heads).map(|head| {
        let group = head / (heads / groups);
        let (x, values) =
            (a.slice(head * m * k..(head + 1) * m * k), b.slice(group * n * k..(group + 1) * n * k));
        linear(&x, Weight::Rows { values: &values, outputs: n, inputs: k }, None, order, out)
            .expect("shapes and dtypes were checked")
    });
    bridge::tensor(join(products.collect()), [batch, heads, m, n], &device)
}

/// `a b` for each head, as [`matmul_transposed`] on the transpose of `b`.
///
/// # Shapes
/// - `a`: `[1, H, M, K]`, `b`: `[1, G, K, N]`, returns `[1, H, M, N]`
pub fn matmul(a: Tensor<4>, b: Tensor<4>, order: Accumulation, out: DType) -> Tensor<4> {
    matmul_transposed(a, b.transpose(), order, out)
}

/// Repeats each key or value head for the query heads that share it: `[1, G, T, D]` to
/// `[1, G·repeats, T, D]`.
fn share(x: Tensor<4>, repeats: usize) -> Tensor<4> {
    let [batch, groups, tokens, width] = x.dims();
    let x = x.unsqueeze_dim::<5>(2).expand([batch, groups, repeats, tokens, width]);
    x.reshape([batch, groups * repeats, tokens, width])
}

/// The compute dtype: f64 stays, everything else becomes f32.
fn wide<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match bridge::dtype(&x) {
        DType::F64 | DType::F32 => x,
        _ => x.cast(burn::tensor::DType::F32),
    }
}

/// One array of the heads' results.
fn join(parts: Vec<Floats>) -> Floats<'static> {
    macro_rules! joined {
        ($variant:ident) => {{
            let mut all = Vec::with_capacity(parts.iter().map(Floats::len).sum());
            for part in &parts {
                if let Floats::$variant(v) = part {
                    all.extend_from_slice(v);
                }
            }
            all.into()
        }};
    }
    match parts.first().map_or(DType::F32, Floats::dtype) {
        DType::F64 => joined!(F64),
        DType::F32 => joined!(F32),
        DType::Bf16 => joined!(Bf16),
        DType::F16 => joined!(F16),
    }
}
