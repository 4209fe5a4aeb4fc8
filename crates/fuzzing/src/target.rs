//! One parser under attack.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::alloc::{is_used, peak_of};
use crate::mutate::{Material, mutate};
use crate::outcome::{kind, place};
use crate::settings::Settings;
use crate::watch::Watch;
use crate::{Random, panics};

/// Found cases that are kept of one target in one run.
const KEPT: usize = 16;
/// Examples at most, those found on the way included.
const EXAMPLES: usize = 2048;

/// The bytes that an execution on `length` bytes of input may hold at once: 64 for each, and 16
/// MiB.
pub fn allowance(length: usize) -> u64 {
    64 * length as u64 + (16 << 20)
}

type Repair = fn(&mut [u8], &mut Random);

/// A parser and what it accepts.
pub struct Target<'a> {
    name: &'a str,
    corpus: PathBuf,
    examples: Vec<Vec<u8>>,
    words: &'a [&'a str],
    text: bool,
    repair: Option<Repair>,
    executions: u64,
    share: u64,
}

/// What is told of a run.
#[derive(Default)]
struct Tally {
    executions: u64,
    accepted: u64,
    kinds: HashMap<u64, u64>,
    /// Found cases by place, with the first message and how often.
    found: BTreeMap<String, (String, u64)>,
    caught: BTreeMap<String, u64>,
    /// The most that was held at once: bytes, and the length of the input.
    peak: (u64, usize),
    slowest: Duration,
}

impl<'a> Target<'a> {
    /// A target; `folder` is that of its crate, `env!("CARGO_MANIFEST_DIR")`, where found cases are
    /// kept.
    pub fn new(name: &'a str, folder: &str) -> Self {
        let corpus = PathBuf::from(folder).join("tests/corpus").join(name);
        Target {
            name,
            corpus,
            examples: Vec::new(),
            words: &[],
            text: false,
            repair: None,
            executions: 20_000,
            share: 1,
        }
    }

    /// Adds an example of good input, or of almost good input.
    #[must_use]
    pub fn seed(mut self, input: impl AsRef<[u8]>) -> Self {
        self.examples.push(input.as_ref().to_vec());
        self
    }

    /// Words of the format, to be strewn in.
    #[must_use]
    pub fn words(mut self, words: &'a [&'a str]) -> Self {
        self.words = words;
        self
    }

    /// Says that inputs are text: most damage then leaves it UTF-8.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.text = true;
        self
    }

    /// Makes a checksum or a length right again, of every other input, so that what lies behind it
    /// is reached.
    #[must_use]
    pub fn repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }

    /// How many executions a plain test makes; 20000 unless said.
    #[must_use]
    pub fn executions(mut self, executions: u64) -> Self {
        self.executions = executions;
        self
    }

    /// Says that an execution is so much work that one in `n` of those asked for in a long run must
    /// do.
    #[must_use]
    pub fn one_in(mut self, n: u64) -> Self {
        self.share = n;
        self
    }

    /// Executes the kept cases, the examples, then damaged ones, and prints one line.
    ///
    /// `execute` gives a word for what it accepted, or why it refused. It panics where what it
    /// accepted breaks a promise.
    ///
    /// # Panics
    /// With every kind of case that was found, after the run.
    pub fn run(self, mut execute: impl FnMut(&[u8]) -> Result<String, String>) {
        let settings = Settings::from_environment();
        if settings.only.as_ref().is_some_and(|only| only != self.name) {
            return;
        }
        let watch = Watch::new(self.name, self.corpus.join("endless"));
        let mut tally = Tally::default();
        let mut examples = self.examples.clone();
        let kept: Vec<Vec<u8>> = self.kept();
        examples.extend(kept.iter().cloned());
        let started = Instant::now();

        let mut try_one = |input: &[u8], tally: &mut Tally| {
            watch.next(input);
            if let Some(last) = &settings.last {
                fs::write(last, input).expect("the file of the last input can be written");
            }
            let begun = Instant::now();
            let (result, peak) = peak_of(|| panics::catch(|| execute(input)));
            tally.slowest = tally.slowest.max(begun.elapsed());
            tally.executions += 1;
            if peak > tally.peak.0 {
                tally.peak = (peak, input.len());
            }
            let result = match result {
                Ok(_) if peak > allowance(input.len()) => {
                    Err(format!("more than {} bytes held at once", allowance(0)))
                }
                other => other,
            };
            if result.is_ok()
                && let Some(panic) = panics::caught_inside()
            {
                *tally.caught.entry(place(&panic)).or_default() += 1;
            }
            result
        };

        // What is kept was found once, and must not be found again.
        for input in kept.iter().chain(&self.examples) {
            match try_one(input, &mut tally) {
                Ok(outcome) => drop(tally.note(outcome)),
                Err(case) => tally.found(&case),
            }
        }
        let executions = settings.executions.map_or(self.executions, |n| n / self.share);
        let mut random = Random::new(settings.seed ^ kind(true, self.name));
        let mut input = Vec::new();
        while tally.executions < executions {
            if let Some(time) = settings.time
                && tally.executions.is_multiple_of(64)
                && started.elapsed() > time
            {
                break;
            }
            input.clear();
            // What was found on the way gets deep; what was given is good, and one change to it is
            // often accepted.
            let pool = if random.one_in(2) { &self.examples } else { &examples };
            input.extend_from_slice(random.of(pool).map_or(&[][..], Vec::as_slice));
            let material = Material { examples: &examples, words: self.words, text: self.text };
            mutate(&mut input, &material, &mut random);
            if let Some(repair) = self.repair
                && random.one_in(2)
            {
                repair(&mut input, &mut random);
            }
            match try_one(&input, &mut tally) {
                Ok(outcome) => {
                    if tally.note(outcome) && examples.len() < EXAMPLES {
                        examples.push(input.clone());
                    }
                }
                Err(case) => {
                    let wanted = place(&case);
                    let first = !tally.found.contains_key(&wanted);
                    tally.found(&case);
                    if first && tally.found.len() <= KEPT {
                        let small = shrink(&input, |smaller| {
                            try_one(smaller, &mut Tally::default())
                                .is_err_and(|other| place(&other) == wanted)
                        });
                        self.keep(&small);
                    }
                }
            }
        }
        self.tell(&tally, &settings, started.elapsed());
        let found: Vec<String> =
            tally.found.values().map(|(case, times)| format!("{times} times: {case}")).collect();
        assert!(found.is_empty(), "{}: kept in {}\n{}", self.name, self.corpus.display(), found.join("\n"));
    }

    /// The inputs that were found once, in order of their names.
    fn kept(&self) -> Vec<Vec<u8>> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.corpus).into_iter().flatten().flatten().map(|f| f.path()).collect();
        files.sort();
        files.iter().map(|file| fs::read(file).expect("a kept case can be read")).collect()
    }

    fn keep(&self, input: &[u8]) {
        let name =
            format!("{:016x}", kind(true, &format!("{input:?}").replace(|c: char| c.is_ascii_digit(), "d")));
        let file = self.corpus.join(format!("{name}-{}", input.len()));
        let kept = fs::create_dir_all(&self.corpus).and_then(|()| fs::write(&file, input));
        if let Err(error) = kept {
            println!("fuzz {}: {} can't be kept: {error}: {input:?}", self.name, file.display());
        }
    }

    fn tell(&self, tally: &Tally, settings: &Settings, time: Duration) {
        let (peak, length) = tally.peak;
        let memory = match is_used() {
            true => format!(
                "{} kB on {length} B of input ({:.1} x)",
                peak / 1000,
                peak as f64 / length.max(1) as f64
            ),
            false => "not counted".to_owned(),
        };
        let line = format!(
            "fuzz {}: {} executions ({:.0}/s), {} accepted, {} refused, {} distinct outcomes, {} cases found, peak {memory}, \
             slowest {:.1} ms",
            self.name,
            tally.executions,
            tally.executions as f64 / time.as_secs_f64().max(1e-9),
            tally.accepted,
            tally.executions - tally.accepted - tally.found.values().map(|(_, times)| times).sum::<u64>(),
            tally.kinds.len(),
            tally.found.len(),
            1e3 * tally.slowest.as_secs_f64(),
        );
        let caught = tally.caught.iter().map(|(place, times)| {
            format!("\n  refused after a panic of a dependency, {times} times: {}", place.escape_debug())
        });
        let line = line + &caught.collect::<String>();
        println!("{line}");
        if let Some(report) = &settings.report {
            let appended = fs::File::options().append(true).create(true).open(report);
            appended.and_then(|mut f| writeln!(f, "{line}")).expect("the report can be written");
        }
    }
}

impl Tally {
    fn found(&mut self, case: &str) {
        self.found.entry(place(case)).or_insert_with(|| (case.to_owned(), 0)).1 += 1;
    }

    /// Notes an outcome; whether it was the first of its kind.
    fn note(&mut self, outcome: Result<String, String>) -> bool {
        let (accepted, message) = match &outcome {
            Ok(message) => (true, message),
            Err(message) => (false, message),
        };
        self.accepted += u64::from(accepted);
        let times = self.kinds.entry(kind(accepted, message)).or_default();
        *times += 1;
        *times == 1
    }
}

/// Takes stretches out of an input while it stays the case it is.
fn shrink(input: &[u8], mut still: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut width = (best.len() / 2).max(1);
    let mut tries = 2000;
    while width > 0 {
        let mut at = 0;
        while at < best.len() && tries > 0 {
            tries -= 1;
            let mut shorter = best.clone();
            shorter.drain(at..(at + width).min(shorter.len()));
            if still(&shorter) {
                best = shorter;
            } else {
                at += width;
            }
        }
        width /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let name = format!("ulpscope-fuzzing-{}-{:?}", std::process::id(), std::thread::current().id());
        std::env::temp_dir().join(name)
    }

    /// Runs a target that must be found out, and gives the message and what was kept.
    fn found(execute: fn(&[u8]) -> Result<String, String>) -> (String, Vec<Vec<u8>>) {
        let folder = folder();
        let run = || {
            let target =
                Target::new("x", folder.to_str().unwrap()).seed("{\"size\": 12, \"more\": [1, 2]}").text();
            panics::catch(|| target.executions(30_000).run(execute)).unwrap_err()
        };
        let message = run();
        let kept = Target::new("x", folder.to_str().unwrap()).kept();
        fs::remove_dir_all(&folder).unwrap();
        (message, kept)
    }

    #[test]
    fn a_panic_is_found_made_small_and_kept() {
        let (message, kept) = found(|input| {
            assert!(!input.windows(4).any(|w| w == b"null"), "no null here");
            Ok("fine".to_owned())
        });
        assert!(message.contains("no null here") && message.contains("target.rs"), "{message}");
        assert_eq!(kept, [b"null"]);
    }

    #[test]
    fn a_length_that_is_believed_is_found() {
        let (message, _) = found(|input| {
            let text = String::from_utf8_lossy(input);
            let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take(9).collect();
            let size = digits.parse::<usize>().map_err(|e| e.to_string())?;
            Ok(std::hint::black_box(Vec::<u8>::with_capacity(size)).capacity().to_string())
        });
        assert!(message.contains("held at once"), "{message}");
    }

    #[test]
    fn the_same_seed_gives_the_same_executions() {
        let folder = folder();
        let inputs = || {
            let mut seen = Vec::new();
            let target = Target::new("x", folder.to_str().unwrap()).seed("abc").words(&["<", ">"]);
            target.executions(300).run(|input| {
                seen.push(input.to_vec());
                Ok(input.len().to_string())
            });
            seen
        };
        assert_eq!(inputs(), inputs());
    }
}
