//! Arms in lockstep, block by block: what differs, and where it is introduced.
//!
//! A part of the model (embedding, block, head) is loaded for every arm, every prompt runs through
//! it in every arm, each site is compared, and the part is dropped. Memory holds one part and the
//! live activations. Parameters that are bit-identical between arms are held once.
//!
//! Each arm runs twice through a part: on its own state, which shows the divergence that has
//! accumulated, and on the reference's state with every site's output replaced by the reference's
//! (teacher forcing), which shows what each single operation *introduces*.
//!
//! ```
//! use burn::tensor::Device;
//! use ulpscope_capture::Pattern;
//! use ulpscope_compare::{NamedArm, Plan, compare};
//! use ulpscope_decoder::Semantics;
//! use ulpscope_weights::{Arm, Checkpoint};
//!
//! let checkpoint = Checkpoint::open("../../tests/fixtures/tiny-llama".as_ref())?;
//! let arm = |name: &str, recipe: &str| -> Result<_, Box<dyn std::error::Error>> {
//!     let arm = Arm::new(&checkpoint, recipe.parse()?);
//!     Ok(NamedArm { name: name.to_owned(), arm, semantics: Semantics::default() })
//! };
//! let plan = Plan {
//!     arms: vec![arm("a", "load(bf16)")?, arm("b", "load(f32).to(bf16)")?],
//!     prompts: vec![(0..40).collect()],
//!     sites: Pattern::all(),
//!     device: Device::default(),
//!     longest_watched: usize::MAX,
//! };
//! let findings = compare(&plan, |_| ())?;
//! assert_eq!(findings.first[0].site.as_deref(), Some("model.rotary_emb.cos"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod against;
mod buffers;
mod detail;
mod distributions;
mod error;
mod findings;
mod heads;
mod jumps;
mod keep;
mod likely;
mod lockstep;
mod parts;
mod plan;
mod reference;
mod setting;
mod sites;
mod subject;
mod teach;

pub use against::{Free, Survey, SurveyPlan, agreement, free, introduced, survey};
pub use error::CompareError;
pub use findings::{Findings, compare, compare_keeping, compare_weights};
pub use heads::Compared;
pub use jumps::{Beside, Jump, jumps};
pub use keep::{Keep, observe_keeping};
pub use lockstep::{Observed, Step, observe};
pub use parts::Differing;
pub use plan::{NamedArm, Plan};
pub use reference::Reference;
pub use setting::{Parts, Setting, State, in_order};
pub use subject::{Experiment, Made, Mix, Subject, Take, Watch};
