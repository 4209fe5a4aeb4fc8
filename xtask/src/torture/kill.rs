//! SIGKILL at random moments: what is left is whole or not there, and the same command goes on and
//! ends as it should.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ulpscope_record::{RunRecord, differences};

use super::hub::Hub;
use super::{Bench, Tally, contents, temporary};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let (model, long) = (bench.model.display().to_string(), bench.prompts(8));
    let plain = |command: &str, prompts: &[String]| {
        let start = [command.to_owned(), model.clone()];
        start.into_iter().chain(prompts.iter().cloned()).collect::<Vec<String>>()
    };
    let file = bench.work.join("long.toml");
    fs::write(&file, experiment(&bench.model)).context("an experiment can't be written")?;
    let own = std::env::current_exe().context("the path of this program")?;
    let again = ["experiment".to_owned(), file.display().to_string(), "--offline".to_owned()];
    let runs = [
        ("compare", bench.ulpscope.clone(), plain("compare", &long), bench.count(5, 90)),
        ("explain", bench.ulpscope.clone(), plain("explain", &long[..6]), bench.count(4, 70)),
        ("cargo xtask experiment", own, again.to_vec(), bench.count(2, 40)),
    ];
    for (name, program, args, cases) in runs {
        let tally = runs_of(bench, name, &program, &args, cases)?;
        bench.done("kill", &tally);
    }
    for attack in [downloads, traces] {
        let tally = attack(bench)?;
        bench.done("kill", &tally);
    }
    Ok(())
}

/// An explanation of two texts that are as long as the model takes.
fn experiment(model: &Path) -> String {
    let texts = crate::shell::root().join("xtask/experiments/texts/alice.txt");
    format!(
        "title = \"a run to be killed\"\nquestion = \"explain\"\nmodels = [{:?}]\nattention = \"sdpa\"\n\
         prompts = [\"Gravity is\"]\ntexts = [{texts:?}, {texts:?}]\ntruncate = 512\n\
         [[arms]]\nname = \"a\"\nrecipe = \"load(bf16)\"\n[[arms]]\nname = \"b\"\nrecipe = \"load(f32).to(bf16)\"\n",
        model.display().to_string(),
    )
}

/// Runs into a folder, killed once to three times each, every other one over the results of another
/// run.
fn runs_of(bench: &mut Bench, name: &str, program: &Path, args: &[String], cases: usize) -> Result<Tally> {
    let mut tally = Tally::new(name);
    let command = |out: &Path| {
        let mut command = Command::new(program);
        command.args(args).arg("--out").arg(out).current_dir(&bench.work).env("HF_HUB_OFFLINE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let reference = bench.folder("reference")?;
    // Twice: the first time something may have to be built.
    succeed(command(&reference).output()?)?;
    let begun = Instant::now();
    succeed(command(&reference).output()?)?;
    let took = begun.elapsed();
    let undisturbed = Undisturbed::read(&reference)?;
    // The results of another run, which have to stay as they are until they are replaced.
    let old = bench.folder("old")?;
    let short = ["compare", "--ids", "1,2,3", "--b", "load(f16)", "--quiet", "--out"];
    succeed(bench.ulpscope().args(short).arg(&old).arg(&bench.model).output()?)?;
    let old = contents(&old);

    let (mut kills, mut resumed) = (0, 0);
    for case in 0..cases {
        let out = bench.folder("killed")?;
        let before = if case % 2 == 1 { old.clone() } else { BTreeMap::new() };
        put(&out, &before)?;
        let mut wrong = None;
        for _ in 0..1 + bench.random.below(3) {
            let moment = took.mul_f64(bench.random.below(1050) as f64 / 1000.0);
            kill_after(command(&out).stderr(Stdio::null()), moment)?;
            kills += 1;
            wrong = wrong.or_else(|| undisturbed.half_done(&out, &before));
        }
        let last = command(&out).output()?;
        resumed += usize::from(String::from_utf8_lossy(&last.stderr).contains("going on from"));
        tally.count(wrong.or_else(|| undisturbed.not_the_same(&out, &last, &before)));
    }
    tally.notes.push(format!("killed {kills} times within {:.1} s", took.as_secs_f64()));
    tally.notes.push(format!("{resumed} went on from what was finished"));
    Ok(tally)
}

/// What a run leaves that nobody disturbs.
struct Undisturbed {
    record: RunRecord,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Undisturbed {
    fn read(folder: &Path) -> Result<Self> {
        Ok(Undisturbed { record: RunRecord::read(folder.join("record.json"))?, files: contents(folder) })
    }

    /// What is wrong with a folder in which a run was killed, over the results of another.
    fn half_done(&self, folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) -> Option<String> {
        let found: BTreeMap<_, _> =
            contents(folder).into_iter().filter(|(path, _)| !temporary(path)).collect();
        for (path, bytes) in &found {
            if let Some(wrong) = not_whole(path, bytes) {
                return Some(format!("{} after a kill: {wrong}", path.display()));
            }
        }
        let record = found.get(Path::new("record.json"))?;
        if before.get(Path::new("record.json")) == Some(record) {
            let changed = before.iter().find(|(path, bytes)| found.get(*path) != Some(bytes));
            return changed
                .map(|(path, _)| format!("{} is not of the run whose record is there", path.display()));
        }
        // The new record is there, so that all of its run has to be.
        self.files
            .keys()
            .find(|path| !found.contains_key(*path))
            .map(|path| format!("the record is there after a kill, but {} is not", path.display()))
    }

    /// What is wrong with a run that was to go on to its end.
    fn not_the_same(
        &self,
        folder: &Path,
        last: &Output,
        before: &BTreeMap<PathBuf, Vec<u8>>,
    ) -> Option<String> {
        if !last.status.success() {
            return Some(format!("{}: {}", last.status, String::from_utf8_lossy(&last.stderr)));
        }
        let record = match RunRecord::read(folder.join("record.json")) {
            Ok(record) => record,
            Err(error) => return Some(error.to_string()),
        };
        if let Some(line) = differences(&self.record, &record).first() {
            return Some(format!("another record than undisturbed: {line}"));
        }
        let found = contents(folder);
        let picture = |path: &Path| path.extension().is_some_and(|e| e == "png");
        for (path, bytes) in &self.files {
            match found.get(path) {
                None => return Some(format!("{} is missing", path.display())),
                Some(other) if picture(path) && other != bytes => {
                    return Some(format!("{} is another picture than undisturbed", path.display()));
                }
                Some(_) => {}
            }
        }
        let own = |path: &PathBuf| self.files.contains_key(path) || before.contains_key(path);
        found.keys().find(|path| !own(path)).map(|path| format!("{} is left", path.display()))
    }
}

/// Why a file that is there is only a part of one.
fn not_whole(path: &Path, bytes: &[u8]) -> Option<String> {
    let ends = |end: &[u8]| (!bytes.ends_with(end)).then(|| "it is cut short".to_owned());
    match path.extension().and_then(|e| e.to_str()) {
        Some("png") => ends(b"IEND\xaeB\x60\x82"),
        Some("html") => ends(b"</html>\n"),
        Some("md") => ends(b"\n"),
        Some("json") => RunRecord::from_json(&String::from_utf8_lossy(bytes)).err().map(|e| e.to_string()),
        _ => Some("there should be no such file".to_owned()),
    }
}

/// Downloads into a cache: what is under its final name is whole, and the next run completes the
/// rest.
fn downloads(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("download");
    let hub = Hub::open(&bench.model)?;
    let files = contents(&bench.model);
    let cases = bench.count(5, 60);
    let command = |bench: &Bench, home: &Path| {
        let mut command = bench.ulpscope();
        command.args(["weights", "org/tiny", "--quiet"]).env_remove("HF_HUB_OFFLINE");
        command.env("HF_HOME", home).env("HF_ENDPOINT", hub.endpoint());
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command
    };
    let begun = Instant::now();
    let home = bench.folder("home")?;
    succeed(command(bench, &home).output()?)?;
    let took = begun.elapsed();
    let mut kills = 0;
    for _ in 0..cases {
        let home = bench.folder("home")?;
        let mut wrong = None;
        for _ in 0..1 + bench.random.below(3) {
            let moment = took.mul_f64(bench.random.below(1050) as f64 / 1000.0);
            kill_after(command(bench, &home).stdout(Stdio::null()).stderr(Stdio::null()), moment)?;
            kills += 1;
            let named = |path: &Path| ["blobs", "snapshots"].iter().any(|f| path.iter().any(|p| p == *f));
            let part =
                |(path, bytes): &(PathBuf, Vec<u8>)| named(path) && !files.values().any(|f| f == bytes);
            let found = contents(&home).into_iter().find(part);
            wrong =
                wrong.or(found.map(|(path, _)| format!("{} is no whole file after a kill", path.display())));
        }
        let last = command(bench, &home).output()?;
        let left = contents(&home).into_keys().find(|path| path.iter().any(|p| p == "ulpscope-partial"));
        let failed = (!last.status.success()).then(|| String::from_utf8_lossy(&last.stderr).into_owned());
        let left = left.map(|path| format!("{} is left", path.display()));
        tally.count(wrong.or(failed).or(left));
    }
    tally.notes.push(format!("killed {kills} times within {:.1} s", took.as_secs_f64()));
    Ok(tally)
}

/// Traces: there or not, and nothing else.
fn traces(bench: &mut Bench) -> Result<Tally> {
    let mut tally = Tally::new("trace");
    let prompt = bench.prompts(1);
    let command = |bench: &Bench, out: &Path| {
        let mut command = bench.ulpscope();
        command.arg("trace").arg(&bench.model).args(&prompt).arg("--quiet").arg("--out").arg(out);
        command
    };
    let folder = bench.folder("traces")?;
    let begun = Instant::now();
    let whole = folder.join("whole.safetensors");
    succeed(command(bench, &whole).output()?)?;
    let took = begun.elapsed();
    let whole = fs::read(whole)?;
    for _ in 0..bench.count(5, 60) {
        let folder = bench.folder("traces")?;
        let out = folder.join("t.safetensors");
        let moment = took.mul_f64(bench.random.below(1050) as f64 / 1000.0);
        kill_after(command(bench, &out).stdout(Stdio::null()).stderr(Stdio::null()), moment)?;
        let mut wrong = match fs::read(&out) {
            Ok(bytes) if bytes != whole => Some("a trace is there that is not whole".to_owned()),
            _ => None,
        };
        let last = command(bench, &out).output()?;
        if !last.status.success() {
            wrong = wrong.or_else(|| Some(String::from_utf8_lossy(&last.stderr).into_owned()));
        }
        let left = contents(&folder);
        let same = left.len() == 1 && left.values().all(|bytes| *bytes == whole);
        tally.count(wrong.or_else(|| (!same).then(|| format!("{:?} are left", left.keys()))));
    }
    Ok(tally)
}

/// Starts a command and kills it, if it is still there, after so long.
fn kill_after(command: &mut Command, moment: Duration) -> Result<()> {
    let mut child =
        command.spawn().with_context(|| format!("{} can't be started", command.get_program().display()))?;
    std::thread::sleep(moment);
    child.kill().context("a process can't be killed")?;
    child.wait().context("a process that was killed can't be waited for")?;
    Ok(())
}

fn succeed(output: Output) -> Result<()> {
    if !output.status.success() {
        bail!("undisturbed, it ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn put(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(path, bytes)?;
    }
    Ok(())
}
