//! What is finished of a run that is not.
//!
//! A unit is one stage (looking, proving) of one group of prompts. Its file is named by a hash of
//! its key and taken only if it holds the whole key: what the libraries know of it ([`Keep`]), and
//! which program on which processor made it. A unit of few tokens that was soon finished is not
//! kept, so that short runs write nothing.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ulpscope_compare::Keep;
use ulpscope_record::unit::Unit;

use crate::progress::Talk;
use crate::provenance;

/// The folder for units, in the run's own.
pub(super) const FOLDER: &str = ".ulpscope-partial";

/// What has fewer tokens is not worth a file, unless the model is so large that it takes long all
/// the same.
const FEW: usize = 256;
const SOON: Duration = Duration::from_secs(10);

/// Tokens of a group of prompts. Every group reads the model once more, which takes as long as some
/// tens of tokens do.
const GROUP: usize = 2048;

/// Keeps units in a folder, or nowhere.
pub(crate) struct Partial<'t> {
    folder: Option<PathBuf>,
    talk: &'t Talk,
    program: String,
    begun: Instant,
    /// Units that are on the disk.
    kept: usize,
    /// Units that an earlier run had kept.
    recalled: usize,
    failed: bool,
}

impl<'t> Partial<'t> {
    /// `kernel` is what multiplies matrices here.
    pub(crate) fn new(folder: Option<PathBuf>, kernel: &str, talk: &'t Talk) -> Self {
        Partial {
            folder,
            talk,
            program: program(kernel),
            begun: Instant::now(),
            kept: 0,
            recalled: 0,
            failed: false,
        }
    }

    /// What to say of a run that ends with an error.
    pub(crate) fn remedy(&self) -> Option<String> {
        let folder = self.folder.as_ref().filter(|_| self.kept > 0)?;
        Some(format!(
            "the run stopped; what is finished of it is kept in {}, and the same command goes on from there",
            folder.display()
        ))
    }

    fn place(&self, key: &str) -> Option<(PathBuf, String)> {
        let key = format!("{}\n{key}", self.program);
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        Some((self.folder.as_ref()?.join(format!("{:016x}.json", hasher.finish())), key))
    }
}

impl Keep for Partial<'_> {
    fn group(&self) -> usize {
        if self.folder.is_some() { GROUP } else { usize::MAX }
    }

    fn recall(&mut self, key: &str) -> Option<Unit> {
        self.begun = Instant::now();
        let (path, key) = self.place(key)?;
        let unit = Unit::read(&path, &key)?;
        if self.recalled == 0 {
            self.talk.say("going on from where an earlier run was interrupted");
        }
        self.recalled += 1;
        self.kept += 1;
        Some(unit)
    }

    fn keep(&mut self, key: &str, unit: &Unit, tokens: usize) {
        if self.failed || (tokens < FEW && self.begun.elapsed() < SOON) {
            return;
        }
        let (Some((path, key)), Some(folder)) = (self.place(key), &self.folder) else { return };
        match fs::create_dir_all(folder).and_then(|()| unit.write(&path, &key)) {
            Ok(()) => self.kept += 1,
            // The run itself may still succeed.
            Err(error) => {
                self.failed = true;
                self.talk.say(&format!("{}: what is finished can't be kept: {error}", folder.display()));
            }
        }
    }
}

/// Which program it is. A revision does not tell what was changed after it, so that the file itself
/// counts, too.
fn program(kernel: &str) -> String {
    let file = env::current_exe().and_then(fs::metadata);
    let file = file.and_then(|file| Ok((file.len(), file.modified()?))).ok();
    format!("ulpscope {}, {file:?}, {kernel}, {}", provenance::VERSION, ulpscope_record::provenance::cpu())
}
