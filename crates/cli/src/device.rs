//! Devices by name.

use anyhow::{Context, Result, bail};
use burn::tensor::Device;

use crate::args::DeviceArgs;

/// More threads than any machine has cores; a million would wait for each other without end.
const MOST_THREADS: usize = 1024;

/// What is wrong with `RUST_MIN_STACK`, from which threads take the size of their stacks: one that
/// overflows ends the process without a word.
pub(crate) fn too_small_stacks() -> Option<String> {
    const LEAST: usize = 1 << 20;
    let given = std::env::var("RUST_MIN_STACK").ok()?.parse().ok().filter(|given: &usize| *given < LEAST)?;
    Some(format!("RUST_MIN_STACK={given}: threads need stacks of at least {LEAST} bytes; unset it"))
}

/// The device, and the number of threads that compute on this machine's side.
pub(crate) fn open(args: &DeviceArgs) -> Result<(Device, usize)> {
    if args.threads == Some(0) {
        bail!("--threads 0: at least one thread has to compute");
    }
    if let Some(threads) = args.threads.filter(|threads| *threads > MOST_THREADS) {
        bail!(
            "--threads {threads}: at most {MOST_THREADS}; more threads than the machine has cores only wait"
        );
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads.unwrap_or(0));
    // Activations come and go, megabytes each. glibc hands memory back to the system at once until
    // it has seen a large piece freed, and half of the time of a long prompt outside of products is
    // then spent on getting it again.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(31 << 20)));
    // The pool is made once, before anything uses it.
    pool.build_global().context(
        "the threads that compute can't be started; --threads 1 asks for fewer, and RUST_MIN_STACK may be too large",
    )?;
    // A CPU path that was asked for and can't be had is an error now, not in the middle of the
    // work.
    ulpscope_kernels::Path::detect()?;
    Ok((by_name(&args.device)?, rayon::current_num_threads()))
}

fn by_name(name: &str) -> Result<Device> {
    match name.split_once(':').unwrap_or((name, "0")) {
        ("flex", "0") => Ok(Device::flex()),
        ("cuda", index) => match index.parse::<usize>() {
            Ok(index) => cuda(index),
            Err(_) => bail!("--device {name}: `{index}` is no index of a GPU"),
        },
        _ => bail!("--device {name}: known are `flex` (this CPU) and `cuda[:N]`"),
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device> {
    bail!(
        "--device cuda: this ulpscope was built without the feature `cuda`; build it with `--features cuda`"
    )
}
