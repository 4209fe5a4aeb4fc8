//! What burn asks of a module: its parameters are visited and mapped under PyTorch's names, and
//! moved.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
    ParamId, Reparameterizer,
};
use burn::tensor::{DType, Device, Tensor};
use ulpscope_decoder::{Linear, Module as Held, Parameter, RmsNorm, bridge};

use crate::model::Llama;

impl Module for Llama {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        let parameters = self.model.architecture().parameters();
        for step in steps(&parameters) {
            match step {
                Step::Enter(name) => visitor.enter_module(name, container(name)),
                Step::Exit(name) => visitor.exit_module(name, container(name)),
                Step::At(i) => match (self.model.module(parameters[i].site), is_bias(&parameters[i])) {
                    (Some(Held::Norm(norm)), _) => {
                        visitor.visit_float(&Param::initialized(self.ids[i], norm.weight()));
                    }
                    (Some(Held::Linear(linear)), false) => visitor.visit_float(&weight(linear, self.ids[i])),
                    (Some(Held::Linear(linear)), true) => {
                        let bias = linear.bias().map(|bias| Param::initialized(self.ids[i], bias));
                        bias.iter().for_each(|bias| visitor.visit_float(bias));
                    }
                    (None, _) => {}
                },
            }
        }
    }

    fn map<M: ModuleMapper>(mut self, mapper: &mut M) -> Self {
        let of = self.model.architecture().clone();
        let parameters = of.parameters();
        for step in steps(&parameters) {
            match step {
                Step::Enter(name) => mapper.enter_module(name, container(name)),
                Step::Exit(name) => mapper.exit_module(name, container(name)),
                Step::At(i) => {
                    let (site, id) = (parameters[i].site, &mut self.ids[i]);
                    let new = match (self.model.module(site), is_bias(&parameters[i])) {
                        (Some(Held::Norm(norm)), _) => {
                            let (dtype, weight) =
                                (norm.weight().dtype(), Param::initialized(*id, norm.weight()));
                            Held::Norm(RmsNorm::new(mapped(mapper, weight, dtype, id)))
                        }
                        (Some(Held::Linear(linear)), false) => {
                            let (dtype, bias) = (bridge::burn_dtype(linear.dtype()), linear.bias());
                            Held::Linear(Linear::new(mapped(mapper, weight(linear, *id), dtype, id), bias))
                        }
                        (Some(Held::Linear(linear)), true) => match linear.bias() {
                            Some(bias) => {
                                let (dtype, bias) = (bias.dtype(), Param::initialized(*id, bias));
                                Held::Linear(linear.with_bias(mapped(mapper, bias, dtype, id)))
                            }
                            None => continue,
                        },
                        (None, _) => continue,
                    };
                    self.model.set_module(site, new);
                }
            }
        }
        self
    }

    fn to_device(mut self, device: &Device) -> Self {
        for site in self.model.architecture().parameters().iter().map(|p| p.site).collect::<Vec<_>>() {
            let moved = match self.model.module(site) {
                Some(Held::Norm(norm)) => Held::Norm(RmsNorm::new(norm.weight().to_device(device))),
                Some(Held::Linear(linear)) => Held::Linear(linear.to_device(device)),
                None => continue,
            };
            self.model.set_module(site, moved);
        }
        self
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn collect_devices(&self, mut devices: Devices) -> Devices {
        if !devices.contains(&self.model.device()) {
            devices.push(self.model.device());
        }
        devices
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }

    fn apply_reparameterization<R: Reparameterizer>(self, _: R) -> Self {
        panic!("a Llama holds packed weights, to which nothing can be attached; see its documentation")
    }
}

impl ModuleDisplayDefault for Llama {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&format!("Llama, {} parameters", Module::num_params(self))).optional()
    }

    fn num_params(&self) -> usize {
        Module::num_params(self)
    }
}

impl ModuleDisplay for Llama {}

/// What a traversal does next.
enum Step<'a> {
    Enter(&'a str),
    Exit(&'a str),
    /// The number of the parameter whose module path was entered.
    At(usize),
}

/// The way through the tree that the names of the parameters are paths in.
fn steps<'a>(parameters: &'a [Parameter]) -> Vec<Step<'a>> {
    let (mut steps, mut open) = (Vec::new(), Vec::<&str>::new());
    for (i, parameter) in parameters.iter().enumerate() {
        let path: Vec<&str> = parameter.name.split('.').collect();
        let shared = open.iter().zip(&path).take_while(|(a, b)| a == b).count();
        steps.extend(open.drain(shared..).rev().map(Step::Exit));
        steps.extend(path[shared..].iter().map(|name| Step::Enter(name)));
        steps.push(Step::At(i));
        open = path;
    }
    steps.extend(open.into_iter().rev().map(Step::Exit));
    steps
}

/// The type of what holds the field or the entry `name`, as burn writes it.
fn container(name: &str) -> &'static str {
    if name.parse::<usize>().is_ok() { "Vec" } else { "Struct:Llama" }
}

/// Whether it is the bias, if it is of a linear layer.
fn is_bias(parameter: &Parameter) -> bool {
    parameter.param.shape.len() == 1
}

/// The weight of a linear layer, `[out, in]`, unpacked only when its value is asked for.
fn weight(linear: Linear, id: ParamId) -> Param<Tensor<2>> {
    let (shape, device) = (linear.shape().into(), linear.device());
    Param::uninitialized(id, move |device, _| linear.weight().to_device(device), device, false, shape)
}

/// What the mapper makes of a parameter, in a dtype that the model computes with; `dtype` where it
/// is none.
fn mapped<const D: usize>(
    mapper: &mut impl ModuleMapper,
    param: Param<Tensor<D>>,
    dtype: DType,
    id: &mut ParamId,
) -> Tensor<D> {
    let shape = param.lazy_shape();
    let param = mapper.map_float(param);
    *id = param.id;
    let value = param.into_value();
    assert_eq!(value.shape(), shape, "a mapper may not change the shape of a parameter");
    match value.dtype() {
        DType::F64 | DType::F32 | DType::BF16 | DType::F16 => value,
        DType::QFloat(_) => value.dequantize().cast(dtype),
        _ => value.cast(dtype),
    }
}
