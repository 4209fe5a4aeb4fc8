//! An allocator that knows how much each thread holds, and held at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with a count per thread.
#[derive(Debug)]
pub struct Counting;

thread_local! {
    // Signed, because a thread may free what another one allocated.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Runs `f` and gives the most bytes that this thread held meanwhile beyond what it held before.
///
/// A request that the system refuses counts, too. What other threads allocate does not.
pub fn peak_of<T>(f: impl FnOnce() -> T) -> (T, u64) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = f();
    (result, u64::try_from(PEAK.get() - before).unwrap_or(0))
}

/// Whether this is the program's allocator.
pub(crate) fn is_used() -> bool {
    peak_of(|| std::hint::black_box(vec![0u8; 64])).1 > 0
}

fn count(bytes: i64) {
    // A thread that is being torn down has no counters any more.
    let _ = LIVE.try_with(|live| {
        let now = live.get() + bytes;
        live.set(now);
        PEAK.with(|peak| peak.set(peak.get().max(now)));
    });
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 2)
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; the counters
// are plain cells without a destructor, whose use allocates nothing.
#[allow(unsafe_code, reason = "this is what an allocator is")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            count(-signed(layout.size()));
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if memory.is_null() {
            count(-signed(layout.size()));
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: the caller's obligations are the same.
        let moved = unsafe { System.realloc(memory, layout, size) };
        if moved.is_null() {
            count(signed(layout.size()) - signed(size));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn the_peak_is_what_was_held_at_once() {
        let ((), peak) = peak_of(|| {
            drop(std::hint::black_box(vec![1u8; 5000]));
            drop(std::hint::black_box(vec![0u8; 7000]));
        });
        assert!((7000..7200).contains(&peak), "{peak}");
        let mut grown = Vec::new();
        let ((), peak) = peak_of(|| grown.extend_from_slice(&[0u8; 3000]));
        assert!((3000..6200).contains(&peak), "{peak}");
        let ((), peak) = peak_of(|| drop(grown));
        assert_eq!(peak, 0);
    }

    #[test]
    fn what_the_system_refuses_counts() {
        let (refused, peak) = peak_of(|| Vec::<u8>::new().try_reserve(1 << 60).is_err());
        assert!(refused && peak >= 1 << 60, "{peak}");
    }
}
