//! What burn can do with the model as with any module: count, visit, map, move, record and store
//! its parameters.

use std::fs;

use burn::module::{Lora, Module, ModuleMapper, ModuleVisitor, Param, ParamId, Quantizer};
use burn::tensor::{DType as Dtype, Device, Tensor, quantization::Calibration};
use burn_store::{ModuleSnapshot, SafetensorsStore};
use ulpscope_floats::{DType, Floats};
use ulpscope_llama::{Arithmetic, Llama, LlamaConfig, bridge};

use fixture::{Arrays, Stored, arrays, fixtures, flips, stored};

mod fixture;

/// Tied, untied, and with biases.
const MODELS: [&str; 4] = ["tiny-llama", "configs/untied", "configs/attention-bias", "configs/mlp-bias"];

fn config(name: &str) -> LlamaConfig {
    let json = fs::read(fixtures().join(name).join("config.json")).unwrap();
    LlamaConfig::from_json(&serde_json::from_slice(&json).unwrap()).unwrap()
}

fn model(name: &str, dtype: DType) -> Llama {
    Llama::new(&config(name), &mut Stored(stored(&fixtures().join(name)), dtype)).unwrap()
}

/// The same model with other parameters, in f32.
fn other(name: &str) -> Llama {
    let mut values = stored(&fixtures().join(name));
    values.values_mut().for_each(|v| *v = Floats::from(vec![0.25f32; v.len()]));
    Llama::new(&config(name), &mut Stored(values, DType::F32)).unwrap()
}

fn logits(model: &Llama) -> Floats<'static> {
    bridge::floats(&model.forward(&[1, 5, 9, 2], Arithmetic::default(), &mut ()))
}

#[track_caller]
fn assert_same(ours: &Llama, theirs: &Llama) {
    let (ours, theirs) = (logits(ours), logits(theirs));
    assert_eq!((ours.dtype(), flips(&ours, &theirs)), (theirs.dtype(), 0));
}

/// Collects what is visited.
#[derive(Default)]
struct State {
    path: Vec<String>,
    shapes: Vec<(String, Vec<usize>)>,
    ids: Vec<ParamId>,
    values: Arrays,
}

impl ModuleVisitor for State {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, name: &str, _: &str) {
        assert_eq!(self.path.pop().as_deref(), Some(name));
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        self.shapes.push((name.clone(), param.val().dims().to_vec()));
        self.ids.push(param.id);
        self.values.insert(name, bridge::floats(&param.val()));
    }
}

fn visit(model: &Llama) -> State {
    let mut state = State::default();
    model.visit(&mut state);
    assert!(state.path.is_empty());
    state
}

/// Applies a function to the parameters below modules of this name; to all if it is `true` from the
/// start.
struct Change(&'static str, bool, fn(Tensor<2>) -> Tensor<2>);

impl ModuleMapper for Change {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.1 |= name == self.0;
    }

    fn exit_module(&mut self, name: &str, _: &str) {
        self.1 &= name != self.0;
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.1 {
            return param;
        }
        param.map(|x| {
            let shape = x.dims();
            self.2(x.reshape([shape.iter().product(), 1])).reshape(shape)
        })
    }
}

#[test]
fn parameters_are_visited_under_pytorchs_names() {
    for name in MODELS {
        let model = model(name, DType::F32);
        let state = visit(&model);
        let of = model.architecture();
        let expected: Vec<_> =
            of.parameters().into_iter().map(|p| (p.name.clone(), p.param.shape.clone())).collect();
        assert_eq!(state.shapes, expected);
        assert_eq!(state.ids, visit(&model.clone()).ids);
        let stored: usize = stored(&fixtures().join(name)).values().map(Floats::len).sum();
        assert_eq!(model.num_params(), stored, "{name}");
        assert_eq!(model.devices(), [Device::flex()]);
    }
}

#[test]
fn visiting_mapping_and_moving_change_no_bit() {
    for name in MODELS {
        for dtype in [DType::F64, DType::F32, DType::Bf16, DType::F16] {
            let model = model(name, dtype);
            let values = visit(&model).values;
            assert!(values.values().all(|v| v.dtype() == dtype));
            assert_same(&Llama::new(&config(name), &mut Stored(values, dtype)).unwrap(), &model);
            assert_same(&model.clone().map(&mut Change("model", false, |x| x)), &model);
            assert_same(&model.clone().to_device(&Device::flex()), &model);
            assert_same(&model.clone().fork(&Device::flex()).train().valid().materialize(), &model);
            assert_same(&model.clone().no_grad().unfreeze(), &model);
        }
    }
}

#[test]
fn what_a_mapper_returns_is_computed_with() {
    for dtype in [DType::F64, DType::F32, DType::Bf16, DType::F16] {
        let model = model("configs/untied", dtype);
        let doubled = logits(&model.clone().map(&mut Change("lm_head", false, |x| x * 2.0)));
        let plain = logits(&model);
        assert!((0..plain.len()).all(|i| doubled.get(i) == 2.0 * plain.get(i)));
    }
    // A tied weight is mapped once, for both of its uses; and a model moves from packed weights to
    // tensors and back.
    for name in MODELS {
        let (narrow, wide) = (model(name, DType::F32), model(name, DType::F64));
        let mut widen = Change("", true, |x| x.cast(Dtype::F64));
        let widened = narrow.clone().map(&mut widen);
        assert_same(&widened, &wide);
        assert_same(&widened.map(&mut Change("", true, |x| x.cast(Dtype::F32))), &narrow);
    }
}

#[test]
fn quantised_parameters_are_held_dequantised() {
    let model = model("configs/untied", DType::Bf16);
    let scheme = Device::flex().settings().quantization.scheme;
    let quantised = model.clone().quantize_weights(&mut Quantizer::new(Calibration::MinMax, scheme));
    let (before, after) = (logits(&model), logits(&quantised));
    assert_eq!(before.dtype(), after.dtype());
    assert!(flips(&before, &after) > 0 && (0..after.len()).all(|i| after.get(i).is_finite()));
}

#[test]
#[should_panic(expected = "packed")]
fn adapters_are_refused() {
    let _ = model("tiny-llama", DType::F32).apply_lora(Lora::new(2, 4.0));
}

#[test]
fn records_hold_every_bit() {
    for name in MODELS {
        let model = model(name, DType::Bf16);
        let loaded = other(name).try_load_record(model.clone().into_record()).unwrap();
        assert_same(&loaded, &model);
        assert_eq!(visit(&loaded).ids, visit(&model).ids);
    }
    assert!(other("configs/untied").try_load_record(other("tiny-llama").into_record()).is_err());
}

#[test]
fn burns_safetensors_store_reads_and_writes_pytorchs_files() {
    let folder = tempfile::tempdir().unwrap();
    for (i, name) in MODELS.into_iter().enumerate() {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let model = model(name, dtype);
            let path = folder.path().join(format!("{i}-{dtype}.safetensors"));
            model.save_into(&mut SafetensorsStore::from_file(&path)).unwrap();
            let mut loaded = other(name);
            assert!(loaded.load_from(&mut SafetensorsStore::from_file(&path)).unwrap().is_success());
            assert_same(&loaded, &model);
            let (file, visited) = (arrays(&path).0, visit(&model).values);
            assert!(visited.iter().all(|(name, values)| file[name].bytes() == values.bytes()));
            assert_eq!(file.len(), visited.len());
        }
        // As transformers wrote it.
        let mut loaded = other(name);
        let file = fixtures().join(name).join("model.safetensors");
        loaded.load_from(&mut SafetensorsStore::from_file(file)).unwrap();
        assert_same(&loaded, &model(name, config(name).dtype.unwrap()));
    }
}

#[test]
fn a_module_of_burn_can_hold_it() {
    #[derive(Module, Debug)]
    struct Outer {
        llama: Llama,
    }
    let outer = Outer { llama: model("tiny-llama", DType::F32) };
    assert_eq!(outer.num_params(), outer.llama.num_params());
    assert!(outer.to_string().contains("Llama"));
    let mut state = State::default();
    outer.visit(&mut state);
    assert_eq!(state.shapes[0].0, "llama.model.embed_tokens.weight");
}
