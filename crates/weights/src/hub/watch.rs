//! Runs a transfer that knows no timeout, and gives it up when nothing arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

enum Event<T> {
    /// So many bytes of the file are here.
    At(u64),
    Done(T),
}

/// Given to the work, which reports through it that it is still getting somewhere.
pub(super) struct Ticker {
    report: Box<dyn Fn(u64) + Send>,
    given_up: Arc<AtomicBool>,
    at: u64,
}

impl Ticker {
    /// So many bytes more are there. Ends the thread if nobody waits for them any more.
    pub(super) fn advance(&mut self, bytes: u64) {
        if self.given_up.load(Ordering::Relaxed) {
            abandon();
        }
        self.at += bytes;
        (self.report)(self.at);
    }
}

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Nothing was reported for too long.
    Stalled,
    /// The work panicked.
    Failed,
}

/// Runs `work` in a thread of its own and passes the positions it reports to `position`. Gives up
/// when nothing is heard for `patience`; the thread is then left behind and ends at the next byte
/// it receives, before writing it.
pub(super) fn watched<T: Send + 'static>(
    patience: Duration,
    position: &mut dyn FnMut(u64),
    work: impl FnOnce(Ticker) -> T + Send + 'static,
) -> Result<T, Lost> {
    let (sender, receiver) = mpsc::channel();
    let given_up = Arc::new(AtomicBool::new(false));
    let reports: Sender<Event<T>> = sender.clone();
    let ticker = Ticker {
        // Nobody listens any more once the transfer was given up.
        report: Box::new(move |at| drop(reports.send(Event::At(at)))),
        given_up: Arc::clone(&given_up),
        at: 0,
    };
    std::thread::spawn(move || drop(sender.send(Event::Done(work(ticker)))));
    loop {
        match receiver.recv_timeout(patience) {
            Ok(Event::At(at)) => position(at),
            Ok(Event::Done(result)) => return Ok(result),
            Err(RecvTimeoutError::Disconnected) => return Err(Lost::Failed),
            Err(RecvTimeoutError::Timeout) => {
                given_up.store(true, Ordering::Relaxed);
                return Err(Lost::Stalled);
            }
        }
    }
}

/// Ends the thread of a transfer that nobody waits for. This unwinds, without the message of a
/// panic. Where panics abort, it sleeps instead of taking the process down.
fn abandon() -> ! {
    if cfg!(panic = "unwind") {
        std::panic::resume_unwind(Box::new("transfer given up"));
    }
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_positions_come_through() {
        let mut seen = Vec::new();
        let result = watched(Duration::from_secs(5), &mut |at| seen.push(at), |mut ticker| {
            ticker.advance(3);
            ticker.advance(4);
            "done"
        });
        assert_eq!((result, seen), (Ok("done"), vec![3, 7]));
    }

    #[test]
    fn silence_ends_it_and_the_thread_stops_at_its_next_byte() {
        let (resume, wait) = mpsc::channel::<()>();
        let (wrote, written) = mpsc::channel::<()>();
        let result = watched(Duration::from_millis(40), &mut |_| {}, move |mut ticker| {
            wait.recv().unwrap();
            ticker.advance(1);
            wrote.send(()).unwrap();
        });
        assert_eq!(result, Err(Lost::Stalled));
        resume.send(()).unwrap();
        assert_eq!(written.recv_timeout(Duration::from_secs(5)), Err(RecvTimeoutError::Disconnected));
    }
}
