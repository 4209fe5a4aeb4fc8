//! The two programs that are measured.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::table::median;
use crate::shell;

/// Threads of the other program may spin for a moment after their work.
const PAUSE: Duration = Duration::from_millis(300);

/// A program that waits for its turn.
pub(crate) struct Side {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What it says about itself.
    pub(crate) about: Value,
}

impl Side {
    /// `ulpscope bench --turns`, by the CPU path of this name, or by the fastest.
    pub(crate) fn ours(
        binary: &Path,
        checkpoint: &Path,
        order: &str,
        threads: usize,
        cpu: Option<&str>,
    ) -> Result<Self> {
        let mut command = Command::new(binary);
        command.envs(cpu.map(|path| ("ULPSCOPE_CPU", path)));
        command.arg("bench").arg(checkpoint).args(["--turns", "--quiet", "--attention", "sdpa"]);
        command.args(["--accumulation", order, "--threads", &threads.to_string()]);
        Side::start(&mut command)
    }

    /// The script that does the same with PyTorch, held to AVX2 if `avx2` says so.
    pub(crate) fn pytorch(python: &Path, checkpoint: &Path, threads: usize, avx2: bool) -> Result<Self> {
        let mut command = Command::new(python);
        if avx2 {
            // Its own kernels, oneDNN's and MKL's.
            command.envs([
                ("ATEN_CPU_CAPABILITY", "avx2"),
                ("ONEDNN_MAX_CPU_ISA", "AVX2"),
                ("MKL_ENABLE_INSTRUCTIONS", "AVX2"),
            ]);
        }
        command.arg(shell::root().join("xtask/bench/turns.py")).arg(checkpoint).arg(threads.to_string());
        Side::start(&mut command)
    }

    fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("{name} can't be started"))?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let mut side = Side { child, requests, answers, about: Value::Null };
        side.about = side.answer()?;
        Ok(side)
    }

    /// The median of the seconds that it answers.
    pub(crate) fn ask(&mut self, request: &str) -> Result<f64> {
        std::thread::sleep(PAUSE);
        let requests = self.requests.as_mut().context("its input is a pipe")?;
        writeln!(requests, "{request}")
            .and_then(|()| requests.flush())
            .context("a program under test is gone")?;
        let answer = self.answer()?;
        let seconds: Vec<f64> = answer.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        median(&seconds).with_context(|| format!("`{request}` was answered with {answer}"))
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("a program under test ended before its time: {}", self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("{line:?} is no answer"))
    }
}

impl Drop for Side {
    /// Without requests it ends by itself.
    fn drop(&mut self) {
        self.requests = None;
        _ = self.child.wait();
    }
}

/// What a whole process took.
pub(crate) struct Whole {
    pub(crate) seconds: f64,
    pub(crate) mebibytes: f64,
}

/// Runs a program to its end.
pub(crate) fn whole(python: &Path, command: &[&str]) -> Result<Whole> {
    std::thread::sleep(PAUSE);
    let script = shell::root().join("xtask/bench/measure.py");
    let mut measure = Command::new(python);
    let output = measure.arg(script).args(command).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("{} can't be started", python.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let ([seconds, kibibytes], true) = (&numbers[..], output.status.success()) else {
        bail!("{} failed", command.join(" "))
    };
    Ok(Whole { seconds: *seconds, mebibytes: kibibytes / 1024.0 })
}
