//! `cargo xtask experiment`: a run that is written down in a file, and can be repeated from its
//! record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use ulpscope_record::file::open;
use ulpscope_record::{RunRecord, differences};

use crate::shell;

/// Arguments of `experiment`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The experiment: a name from xtask/experiments, or a file like those
    #[arg(default_value = "load-vs-cast", value_name = "NAME|FILE")]
    experiment: String,

    /// Where to write [default: target/experiments/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The model to use instead of those that the experiment names; repeatable, the first that can
    /// be had is used
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,

    /// The device that computes: `flex` (this CPU) or `cuda[:N]`
    #[arg(long, default_value = "flex")]
    device: String,

    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Draw the pictures as SVG, too
    #[arg(long)]
    svg: bool,

    /// Use only what is already on this machine
    #[arg(long)]
    offline: bool,

    /// Repeat the run of this record, and fail if anything but times comes out differently
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["experiment", "model"])]
    replay: Option<PathBuf>,
}

/// An experiment, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Experiment {
    /// One line that says what is asked.
    title: String,
    /// Sources of the model, each tried when the one before it can't be had; folders are relative
    /// to the workspace.
    #[serde(default)]
    models: Vec<String>,
    /// Models that are each asked the same, in place of one: folders, or folders of such, relative
    /// to the workspace.
    #[serde(default)]
    each: Vec<PathBuf>,
    /// Attention of the arms that name none.
    attention: String,
    /// Prompts.
    #[serde(default)]
    prompts: Vec<String>,
    /// Prompts as token ids.
    #[serde(default)]
    ids: Vec<Vec<u32>>,
    /// Files that hold longer prompts, relative to the experiment's own.
    #[serde(default)]
    texts: Vec<PathBuf>,
    /// Tokens of each prompt that are used, if it has more.
    #[serde(default)]
    truncate: Option<usize>,
    /// What is asked of the arms.
    #[serde(default)]
    question: Question,
    /// Sites to report.
    #[serde(default = "every_site")]
    sites: String,
    /// The arms, the reference first.
    arms: Vec<Arm>,
}

/// What is asked of the arms.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    /// How far apart they are, and where it starts.
    #[default]
    Compare,
    /// Why.
    Explain,
}

impl Question {
    /// The subcommand that answers it.
    fn command(self) -> &'static str {
        match self {
            Question::Compare => "compare",
            Question::Explain => "explain",
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    name: String,
    recipe: String,
    #[serde(default)]
    attention: Option<String>,
}

fn every_site() -> String {
    "*".to_owned()
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(path) = &args.replay {
        return replay(args, path);
    }
    let (name, experiment) = read(&args.experiment)?;
    eprintln!("{name}: {}", experiment.title);
    let out = args
        .out
        .clone()
        .map_or_else(|| Ok(shell::root().join("target/experiments").join(&name)), absolute)?;
    if !experiment.each.is_empty() && args.model.is_empty() {
        return each(args, &name, &experiment, &out);
    }
    ask(args, &name, &experiment, &out).and_then(become_it)
}

/// The command that asks an experiment's question of one model.
fn ask(args: &Args, name: &str, experiment: &Experiment, out: &Path) -> Result<Command> {
    let models = if args.model.is_empty() {
        experiment.models.clone()
    } else {
        args.model.iter().map(|m| model(m)).collect::<Result<_>>()?
    };
    let arms: Vec<_> = experiment
        .arms
        .iter()
        .map(|arm| {
            let attention = arm.attention.as_ref().unwrap_or(&experiment.attention);
            (arm.name.clone(), format!("{}@{attention}", arm.recipe))
        })
        .collect();
    let question = experiment.question;
    let mut command = compare(args, question, &[models], &arms, &experiment.sites, &args.device, Some(name))?;
    command.args(experiment.prompts.iter().flat_map(|p| ["--prompt", p]));
    for ids in &experiment.ids {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        command.args(["--ids", &ids.join(",")]);
    }
    for text in &experiment.texts {
        command.arg("--text").arg(folder().join(text));
    }
    if let Some(most) = experiment.truncate {
        command.args(["--truncate", &most.to_string()]);
    }
    command.arg("--out").arg(out);
    Ok(command)
}

/// Asks every model, and writes what came out as one table.
fn each(args: &Args, name: &str, experiment: &Experiment, out: &Path) -> Result<ExitCode> {
    let mut table = String::new();
    for model in models_in(&experiment.each)? {
        let path = shell::root().join(&model);
        let short = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let one = Experiment { models: vec![model], ..experiment.clone() };
        let mut command = ask(args, name, &one, &out.join(&short))?;
        shell::run(command.arg("--quiet").stdout(Stdio::null()))?;
        let record = RunRecord::read(out.join(&short).join("record.json"))?;
        if table.is_empty() {
            let tokens =
                record.prompts.iter().map(|p| format!(" logits that differ, {} tokens |", p.ids.len()));
            table = format!(
                "| model | tensors that differ | buffers that differ | first site |{}\n",
                tokens.collect::<String>()
            );
            table += &format!("|---|---|---|---|{}\n", "---|".repeat(record.prompts.len()));
        }
        table += &row(&short, &record);
    }
    fs::create_dir_all(out)?;
    let path = out.join("table.md");
    fs::write(&path, &table).with_context(|| path.display().to_string())?;
    println!("{table}\nwritten to {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// What a record says, as a row of a table.
fn row(model: &str, record: &RunRecord) -> String {
    let weights = &record.weights;
    let buffers: Vec<&str> =
        record.buffers.iter().filter(|b| !b.identical).map(|b| b.name.as_str()).collect();
    let first = record.first.iter().find_map(|first| first.site.as_deref()).unwrap_or("none");
    let buffers = if buffers.is_empty() { "none".to_owned() } else { buffers.join(", ") };
    let logits = record.logits.iter().map(|l| format!(" {:.0} % |", 100.0 * (1.0 - l.equal)));
    let differ = weights.compared - weights.identical;
    format!(
        "| {model} | {differ} of {} | {buffers} | {first} |{}\n",
        weights.compared,
        logits.collect::<String>()
    )
}

/// The models that are named, and those in folders that are no model themselves, in the order of
/// their names.
fn models_in(folders: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in folders {
        let path = shell::root().join(folder);
        if path.join("config.json").exists() {
            found.push(folder.to_string_lossy().into_owned());
            continue;
        }
        let listed = fs::read_dir(&path).with_context(|| path.display().to_string())?;
        let inside = listed.filter_map(|entry| Some(entry.ok()?.path()));
        let mut models: Vec<PathBuf> = inside.filter(|path| path.join("config.json").exists()).collect();
        models.sort();
        found.extend(models.iter().map(|path| path.to_string_lossy().into_owned()));
    }
    Ok(found)
}

/// Runs what a record says was run, and compares the records.
fn replay(args: &Args, path: &Path) -> Result<ExitCode> {
    let mut before = RunRecord::read(path)?;
    if !before.settings.traces.is_empty() {
        bail!("{} is of a trace: repeat it by the command that its report.md names", path.display());
    }
    let arms: Vec<_> = before.arms.iter().map(|arm| (arm.name.clone(), spec(arm))).collect();
    let out =
        args.out.clone().map_or_else(|| Ok(shell::root().join("target/experiments/replay")), absolute)?;
    let settings = &before.settings;
    let question = if before.explanation.is_some() { Question::Explain } else { Question::Compare };
    let mut command = compare(
        args,
        question,
        &settings.models,
        &arms,
        &settings.sites,
        &settings.device,
        settings.experiment.as_deref(),
    )?;
    if let Some(continued) = settings.continued {
        command.args(["--continue", &continued.to_string()]);
    }
    for prompt in &before.prompts {
        let ids: Vec<_> = prompt.ids.iter().map(u32::to_string).collect();
        match &prompt.text {
            Some(text) => command.args(["--prompt", text]),
            None => command.args(["--ids", &ids.join(",")]),
        };
    }
    let code = finish(command, &out)?;
    if code != ExitCode::SUCCESS {
        return Ok(code);
    }
    let mut after = RunRecord::read(out.join("record.json"))?;
    // Where a text was cut its ids were given, which no tokenizer reads.
    if before.prompts.iter().any(|prompt| prompt.cut) {
        before.prompts.iter_mut().for_each(|prompt| prompt.cut = false);
        [&mut before, &mut after].into_iter().for_each(|record| record.tokenizers.clear());
    }
    let different = differences(&before, &after);
    if different.is_empty() {
        println!("replay of {}: every number is the same", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    println!("replay of {}: these differ", path.display());
    for line in different {
        println!("  {line}");
    }
    Ok(ExitCode::FAILURE)
}

/// An arm as it is written on the command line.
fn spec(arm: &ulpscope_record::Arm) -> String {
    let order = Some(&arm.accumulation).filter(|order| *order != "device");
    let parts = [&arm.recipe, &arm.attention].into_iter().chain(order).chain(&arm.variants);
    parts.map(String::as_str).collect::<Vec<_>>().join("@")
}

/// The command line of `ulpscope compare` or `explain`, but for prompts and output.
fn compare(
    args: &Args,
    question: Question,
    models: &[Vec<String>],
    arms: &[(String, String)],
    sites: &str,
    device: &str,
    experiment: Option<&str>,
) -> Result<Command> {
    let [(first, a), (second, b), more @ ..] = arms else { bail!("an experiment needs at least two arms") };
    if (first.as_str(), second.as_str()) != ("a", "b") {
        bail!("the first two arms are called a and b, not {first} and {second}");
    }
    let Some(([model, fallbacks @ ..], others)) = models.split_first().map(|(m, o)| (&m[..], o)) else {
        bail!("no model is named")
    };
    let features: Vec<String> = device.starts_with("cuda").then(|| "cuda".to_owned()).into_iter().collect();
    let mut command = Command::new(shell::ulpscope(&features)?);
    command.current_dir(shell::root()).args([question.command(), model]);
    command.args(others.iter().filter_map(|sources| sources.first()));
    command.args(fallbacks.iter().flat_map(|f| ["--fallback", f]));
    command.args(["--a", a, "--b", b, "--sites", sites, "--device", device]);
    command.args(more.iter().flat_map(|(name, spec)| ["--arm".to_owned(), format!("{name}={spec}")]));
    if let Some(name) = experiment {
        command.args(["--experiment", name]);
    }
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if args.svg {
        command.arg("--svg");
    }
    if args.offline {
        command.arg("--offline");
    }
    Ok(command)
}

/// Becomes the command where the system can do that: whoever stops this then stops the run itself,
/// and does not leave it behind at work in its folder.
#[cfg(unix)]
fn become_it(mut command: Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("{} can't be started", command.get_program().display()))
}

#[cfg(not(unix))]
fn become_it(mut command: Command) -> Result<ExitCode> {
    exit_code(shell::status(&mut command)?)
}

fn finish(mut command: Command, out: &Path) -> Result<ExitCode> {
    command.arg("--out").arg(out);
    exit_code(shell::status(&mut command)?)
}

fn exit_code(status: std::process::ExitStatus) -> Result<ExitCode> {
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Where experiments are kept.
fn folder() -> PathBuf {
    shell::root().join("xtask/experiments")
}

/// The sources of an experiment's model, in the order in which they are tried.
pub(crate) fn models(which: &str) -> Result<Vec<String>> {
    Ok(read(which)?.1.models)
}

/// An experiment by name or by file.
fn read(which: &str) -> Result<(String, Experiment)> {
    let folder = folder();
    let known = folder.join(format!("{which}.toml"));
    let path = if known.exists() { known } else { PathBuf::from(which) };
    let text = open(&path).and_then(std::io::read_to_string).with_context(|| {
        let mut names: Vec<String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|f| f.path().extension().is_some_and(|extension| extension == "toml"))
            .filter_map(|f| Some(f.path().file_stem()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        format!("`{which}` is neither a readable file nor one of {}", names.join(", "))
    })?;
    let experiment = parse(&text).with_context(|| format!("{} is no experiment", path.display()))?;
    let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
    Ok((name, experiment))
}

/// The text of an experiment's file.
fn parse(text: &str) -> Result<Experiment> {
    let experiment: Experiment = toml::from_str(text)?;
    if experiment.models.is_empty() && experiment.each.is_empty() {
        bail!("`models` is empty, and so is `each`");
    }
    Ok(experiment)
}

/// A model named on the command line: a path is relative to where the user stands.
fn model(name: &str) -> Result<String> {
    let path = Path::new(name);
    Ok(if path.exists() { absolute(path.to_owned())?.display().to_string() } else { name.to_owned() })
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("{} is no path", path.display()))
}

#[cfg(test)]
mod tests {
    use ulpscope_fuzzing::Target;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: ulpscope_fuzzing::Counting = ulpscope_fuzzing::Counting;

    #[test]
    fn fuzz_experiment() {
        let files = fs::read_dir(folder()).unwrap().map(|f| f.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let target = Target::new("experiment", env!("CARGO_MANIFEST_DIR"));
        files
            .fold(target, |target, file| target.seed(fs::read(file).unwrap()))
            .seed("title='x'\nmodels=['a/b']\nattention='eager'\nprompts=['p']\narms=[{name='a',recipe='load(f32)'}]\n")
            .words(&["[[arms]]", "[[", "]]", "=", "\"\"\"", "'''", "question = 'explain'", "truncate = ", "#", "\n"])
            .text()
            .executions(5000)
            .run(|input| match parse(&String::from_utf8_lossy(input)) {
                Ok(experiment) => {
                    assert!(!(experiment.models.is_empty() && experiment.each.is_empty()));
                    let arms = "x".repeat(experiment.arms.len().min(9));
                    Ok(format!("{} {arms} arms", experiment.question.command()))
                }
                Err(error) => Err(error.root_cause().to_string().lines().last().unwrap_or_default().to_owned()),
            });
    }
}
