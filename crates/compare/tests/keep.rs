//! Groups of prompts and units that were kept: what is found is the same, bit for bit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use ulpscope_capture::Pattern;
use ulpscope_compare::{CompareError, Findings, Keep, NamedArm, Plan, compare, compare_keeping};
use ulpscope_decoder::{Departure, Semantics};
use ulpscope_record::unit::Unit;
use ulpscope_weights::{Arm, Checkpoint, WeightsError};

/// Keeps in memory, by way of the text that a file would hold.
struct Memory {
    group: usize,
    units: HashMap<String, String>,
    recalled: usize,
    /// Ends the run like a process that is killed: by a panic, once so many were kept.
    stop: Option<usize>,
}

impl Memory {
    fn of(group: usize) -> Self {
        Memory { group, units: HashMap::new(), recalled: 0, stop: None }
    }
}

impl Keep for Memory {
    fn group(&self) -> usize {
        self.group
    }

    fn recall(&mut self, key: &str) -> Option<Unit> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit");
        std::fs::write(&path, self.units.get(key)?).unwrap();
        self.recalled += 1;
        Unit::read(&path, key)
    }

    fn keep(&mut self, key: &str, unit: &Unit, tokens: usize) {
        assert_eq!(tokens == 19, self.group > 19, "19 tokens are all");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit");
        unit.write(&path, key).unwrap();
        self.units.insert(key.to_owned(), std::fs::read_to_string(&path).unwrap());
        assert!(self.stop.is_none_or(|stop| self.units.len() < stop), "killed");
    }
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny-llama")
}

fn plan(checkpoint: &Checkpoint, prompts: Vec<Vec<u32>>) -> Plan<'_> {
    let arm = |name: &str, recipe: &str| NamedArm {
        name: name.to_owned(),
        arm: Arm::new(checkpoint, recipe.parse().unwrap()),
        semantics: Semantics::default(),
    };
    Plan {
        arms: vec![arm("a", "load(bf16)"), arm("b", "load(f32).to(bf16)"), arm("c", "load(f16)")],
        prompts,
        sites: Pattern::all(),
        device: Device::flex(),
        longest_watched: usize::MAX,
    }
}

fn prompts() -> Vec<Vec<u32>> {
    vec![vec![1, 17, 250], vec![5], vec![9, 8, 7, 6, 5, 4, 3, 2], vec![44, 45], vec![3, 1, 4, 1, 5]]
}

fn text(findings: &Findings) -> String {
    format!("{findings:?}")
}

#[test]
fn what_is_found_does_not_depend_on_groups_or_interruptions() {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let plan = plan(&checkpoint, prompts());
    let whole = text(&compare(&plan, |_| ()).unwrap());
    for group in [1, 4, 9, usize::MAX] {
        let mut memory = Memory::of(group);
        let mut last = (0, 0);
        let found = compare_keeping(&plan, &mut memory, |step| last = (step.done, step.total)).unwrap();
        assert!(text(&found) == whole, "groups of {group}");
        assert_eq!(last.0, last.1, "progress ends at its end");
        let units = memory.units.len();
        let again = compare_keeping(&plan, &mut memory, |_| ()).unwrap();
        assert!(text(&again) == whole, "all of {units} groups of {group} from before");
        assert_eq!(memory.recalled, units);
    }
    for stop in 1..=3 {
        let mut memory = Memory::of(4);
        memory.stop = Some(stop);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            compare_keeping(&plan, &mut memory, |_| ()).map(drop)
        }))
        .unwrap_err();
        memory.stop = None;
        let found = compare_keeping(&plan, &mut memory, |_| ()).unwrap();
        assert!(text(&found) == whole, "stopped after {stop}");
        assert_eq!(memory.recalled, stop);
    }
}

#[test]
fn units_of_another_run_are_left_alone() {
    let checkpoint = Checkpoint::open(&tiny()).unwrap();
    let mut memory = Memory::of(1);
    let own = plan(&checkpoint, prompts());
    compare_keeping(&own, &mut memory, |_| ()).unwrap();

    let mut others = [own.clone(), own.clone(), own.clone(), own.clone()];
    others[0].arms[1].arm = Arm::new(&checkpoint, "load(f32).half()".parse().unwrap());
    others[1].arms[1].semantics = Semantics::default().with("norm=fused".parse::<Departure>().unwrap());
    others[2].sites = "model.layers.0.*".parse().unwrap();
    others[3].longest_watched = 2;
    for other in others {
        compare_keeping(&other, &mut memory, |_| ()).unwrap();
        assert_eq!(memory.recalled, 0);
    }
    // The same model in another place is another model, as far as can be told without reading it.
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(tiny().join(file), folder.path().join(file)).unwrap();
    }
    let copy = Checkpoint::open(folder.path()).unwrap();
    compare_keeping(&plan(&copy, prompts()), &mut memory, |_| ()).unwrap();
    assert_eq!(memory.recalled, 0);
}

#[test]
fn a_checkpoint_that_is_written_to_meanwhile_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny().join(file), folder.path().join(file)).unwrap();
    }
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let plan = plan(&checkpoint, prompts());
    let mut steps = 0;
    let error = compare(&plan, |_| {
        steps += 1;
        if steps == 3 {
            let path = folder.path().join("config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text + " ").unwrap();
        }
    });
    let changed = matches!(error, Err(CompareError::Weights(WeightsError::Changed { .. })));
    assert!(changed && steps == 3, "{:?} after {steps} steps", error.map(drop));
}
