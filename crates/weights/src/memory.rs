//! What happens when memory runs out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator. When it has nothing left, the process ends with status 1 and a sentence
/// on stderr that names what was wanted, where Rust would otherwise abort it.
///
/// For programs, which declare it as their `#[global_allocator]`. Destructors do not run. It sees
/// what the system refuses (`ulimit -v`, `ulimit -d`,
/// [`stay_within_memory`](crate::stay_within_memory)); where the system promises memory that it
/// does not have, its out-of-memory killer ends the process, and nothing can be said.
pub struct Allocator;

// SAFETY: every call is handed on to `System`, which keeps the contract; no pointer or layout is
// changed on the way, and where it refuses, nothing is returned at all.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is the one that `System` wants.
        in_large_pages(or_end(unsafe { System.alloc(layout) }, layout.size()), layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        in_large_pages(or_end(unsafe { System.alloc_zeroed(layout) }, layout.size()), layout.size())
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: all memory that we hand out is `System`'s.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: all memory that we hand out is `System`'s, and the rest is the caller's promise.
        in_large_pages(or_end(unsafe { System.realloc(memory, layout, size) }, size), size)
    }
}

#[inline]
fn or_end(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        end(size);
    }
    memory
}

/// Asks for large pieces in large pages, where the system gives them to whoever asks: getting
/// memory by pages of 4 KiB takes longer than much of what is done in it.
#[inline]
fn in_large_pages(memory: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    {
        const LARGE: usize = 1 << 20;
        const PAGE: usize = 4096;
        if size >= LARGE {
            let skipped = memory.align_offset(PAGE);
            // SAFETY: whole pages within the piece; how large they are changes nothing in them.
            // Where it can't be had, nothing happens.
            #[allow(unsafe_code)]
            unsafe {
                libc::madvise(
                    memory.add(skipped).cast(),
                    (size - skipped) / PAGE * PAGE,
                    libc::MADV_HUGEPAGE,
                );
            }
        }
    }
    memory
}

/// Nothing here may allocate.
#[cold]
fn end(size: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::Relaxed) {
        // Another thread is saying it, and takes this one with it: once is enough.
        std::thread::yield_now();
    }
    let mut digits = [0; 20];
    let number = decimal(size, &mut digits);
    let parts: [&[u8]; 3] = [
        b"ulpscope: out of memory: the system refuses ",
        number,
        b" bytes more; use fewer or shorter prompts or fewer arms, or allow more memory (ulimit, container)\n",
    ];
    let mut line = [0; 256];
    let mut length = 0;
    for part in parts {
        line[length..length + part.len()].copy_from_slice(part);
        length += part.len();
    }
    say_and_exit(&line[..length])
}

fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(unix)]
fn say_and_exit(line: &[u8]) -> ! {
    // SAFETY: the pointer is to `length` bytes that live through the call. `_exit` runs nothing of
    // ours, so that it does not matter what other threads are in the middle of.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::_exit(1)
    }
}

#[cfg(not(unix))]
fn say_and_exit(line: &[u8]) -> ! {
    use std::io::Write;
    _ = std::io::stderr().write_all(line);
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_allocating() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn memory_comes_from_the_system() {
        let layout = Layout::from_size_align(64, 8).unwrap();
        // SAFETY: the layout has a size, and the memory is used within it and given back with it.
        #[allow(unsafe_code)]
        unsafe {
            let memory = Allocator.alloc_zeroed(layout);
            assert_eq!(memory.read(), 0);
            let memory = Allocator.realloc(memory, layout, 128);
            assert_eq!(memory.add(63).read(), 0);
            Allocator.dealloc(memory, Layout::from_size_align(128, 8).unwrap());
        }
    }
}
