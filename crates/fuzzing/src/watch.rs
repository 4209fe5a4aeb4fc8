//! A watch on executions that do not end.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one execution may take. Inputs have a few kilobytes and executions microseconds; the
/// rest is for a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks after one target until it is dropped.
pub(crate) struct Watch {
    state: Arc<State>,
}

struct State {
    /// The number of the execution under way and its input.
    current: Mutex<(u64, Vec<u8>)>,
    over: AtomicBool,
}

impl Watch {
    /// An execution that outlasts [`PATIENCE`] has its input written to `file`, and the process
    /// ends: nothing else ends a thread.
    pub(crate) fn new(name: &str, file: PathBuf) -> Self {
        let state = Arc::new(State { current: Mutex::default(), over: AtomicBool::new(false) });
        let (theirs, name) = (Arc::clone(&state), name.to_owned());
        thread::spawn(move || {
            let (mut seen, mut since) = (0, Instant::now());
            while !theirs.over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                let current = theirs.current.lock().unwrap_or_else(PoisonError::into_inner);
                if current.0 != seen {
                    (seen, since) = (current.0, Instant::now());
                } else if since.elapsed() > PATIENCE && !theirs.over.load(Ordering::Relaxed) {
                    let kept = std::fs::write(&file, &current.1);
                    println!(
                        "fuzz {name}: execution {seen} has not ended in {PATIENCE:?}; its input is in {} ({kept:?})",
                        file.display()
                    );
                    std::process::exit(101);
                }
            }
        });
        Watch { state }
    }

    /// Says what is executed next.
    pub(crate) fn next(&self, input: &[u8]) {
        let mut current = self.state.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.0 += 1;
        current.1.clear();
        current.1.extend_from_slice(input);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}
