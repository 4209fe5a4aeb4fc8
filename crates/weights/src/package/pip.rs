//! Runs pip to fetch one wheel, for a bounded time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::source::{Options, Progress, SourceError};

/// How often a running pip is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Downloads the wheel of `requirement` into the folder `working` and returns its path. `wanted` is
/// the path that the caller will give the result, for an error to name.
pub(super) fn download(
    requirement: &str,
    wanted: &Path,
    working: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<PathBuf, SourceError> {
    let candidates: Vec<Vec<String>> = match &options.pip {
        Some(pip) => vec![pip.clone()],
        None => {
            vec![vec!["python3".into(), "-m".into(), "pip".into()], vec!["pip3".into()], vec!["pip".into()]]
        }
    };
    for candidate in &candidates {
        if let Some(wheel) = run(candidate, requirement, working, options, progress)? {
            return Ok(wheel);
        }
    }
    Err(SourceError::NoPip {
        tried: candidates.iter().map(|c| c.join(" ")).collect::<Vec<_>>().join(", "),
        requirement: requirement.into(),
        wanted: wanted.into(),
    })
}

/// `None` if there is no such pip.
fn run(
    pip: &[String],
    requirement: &str,
    working: &Path,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Option<PathBuf>, SourceError> {
    let [program, arguments @ ..] = pip else { return Ok(None) };
    let failed = |reason: String| SourceError::Pip { requirement: requirement.into(), reason };
    let (into, scratch, said) = (working.join("wheel"), working.join("tmp"), working.join("said"));
    for folder in [&into, &scratch] {
        fs::create_dir_all(folder).map_err(|e| SourceError::io("create the folder", folder, e))?;
    }
    // A file rather than a pipe: nothing has to be read while pip runs, and a child that outlives
    // pip cannot keep us waiting for the end of it.
    let output = File::create(&said).map_err(|e| SourceError::io("create", &said, e))?;
    let also = output.try_clone().map_err(|e| SourceError::io("open", &said, e))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        // A source distribution runs code of its own when it is downloaded; a wheel does not.
        .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off"])
        // By default pip tries six times, which takes minutes without a network.
        .args(["--retries", "0", "--timeout", "5"])
        // Without it pip does not tell a network that is down from a package that does not exist.
        .arg("-vv")
        .args(&options.pip_arguments)
        .arg("--dest")
        .arg(&into)
        .arg(requirement)
        // pip collects the file in its temporary folder first: here it is on the right file system,
        // can be watched, and goes away with the rest if pip is killed.
        .env("TMPDIR", &scratch)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(also);
    own_group(&mut command);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("{program} does not start: {error}"))),
    };
    progress.start(requirement, None);
    let ended = wait(child, options.package_timeout, &scratch, progress);
    progress.finish();
    let said = String::from_utf8_lossy(&fs::read(&said).unwrap_or_default()).into_owned();
    match ended.map_err(|e| failed(format!("{program} cannot be waited for: {e}")))? {
        None => Err(failed(format!(
            "it was stopped after {} s; check the network, or fetch the package by hand",
            options.package_timeout.as_secs_f32()
        ))),
        Some(status) if status.success() => wheel_in(&into).map(Some).map_err(|e| failed(e.into())),
        // 127 is what wrapper scripts end with when they find no such program.
        Some(status) if status.code() == Some(127) || said.contains("No module named pip") => Ok(None),
        Some(status) => Err(failed(summary(&said, status, options))),
    }
}

/// Waits for pip to end. `None` if it had to be stopped.
fn wait(
    mut child: Child,
    patience: Duration,
    scratch: &Path,
    progress: &mut dyn Progress,
) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let mut shown = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() >= patience {
            stop(&mut child);
            return Ok(None);
        }
        let now = bytes_in(scratch);
        if now > shown {
            progress.advance(now - shown);
            shown = now;
        }
        std::thread::sleep(LOOK);
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_in(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |m| m.len()),
        _ => 0,
    });
    sizes.sum()
}

#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

/// Ends pip and what it has started. pip leads a process group of its own; the standard library can
/// signal only single processes, and the shell's `kill` reaches groups.
fn stop(child: &mut Child) {
    #[cfg(unix)]
    {
        let group = format!("kill -KILL -{}", child.id());
        let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn wheel_in(folder: &Path) -> Result<PathBuf, &'static str> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or("it ended well and left no wheel")
}

/// The line of pip's output that says what went wrong.
fn summary(said: &str, status: ExitStatus, options: &Options) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    // After a failed connection pip ends with the claim that there is no such package.
    let network = ["connection error", "Max retries exceeded", "NewConnectionError", "timed out"];
    if lines().any(|line| network.iter().any(|sign| line.contains(sign))) {
        let error = "the package index cannot be reached; check the network, pip's index and its proxy";
        return error.into();
    }
    let errors: Vec<&str> = lines().filter_map(|line| line.strip_prefix("ERROR:")).collect();
    match errors.first().copied().or_else(|| lines().next_back()) {
        Some(line) => options.shown(line.trim()),
        None => format!("it ended with {status} and said nothing"),
    }
}
