//! Pages of a mapped file that are gone, because somebody made the file shorter.
//!
//! Reading such a page raises SIGBUS, whose default is death without a word. [`survive_signals`]
//! has a handler put zeros where the rest of the file was, and notes it. What was computed with
//! them is no result, and does not become one: files and notes are looked at before each part of a
//! model is read and when all are done, and that a file changed is an error
//! ([`WeightsError::Changed`](crate::WeightsError::Changed)) like any other. A disk or network that
//! fails raises the same signal, and is told the same way.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maps that can be told from memory of others. A checkpoint has one for each shard.
const MOST: usize = 1024;

/// Where the maps are: start and end, 0 where there is none, and 1 once a part was replaced.
/// Without locks, because a signal handler reads it.
static MAPS: [[AtomicUsize; 3]; MOST] = [const { [const { AtomicUsize::new(0) }; 3] }; MOST];

/// A map's entry in the table. Where the table is full there is none, and the map is as if the
/// handler were not there.
pub(crate) struct Entry(Option<usize>);

impl Entry {
    /// Enters a map. It must be taken out, by dropping this, before its memory is given back.
    pub(crate) fn of(map: &[u8]) -> Self {
        let Range { start, end } = map.as_ptr_range();
        let free = |slot: &[AtomicUsize; 3]| {
            slot[0].compare_exchange(0, start.addr(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = if map.is_empty() { None } else { MAPS.iter().position(free) };
        if let Some(place) = place {
            MAPS[place][2].store(0, Ordering::Release);
            // Until then the end is 0, and nothing lies between.
            MAPS[place][1].store(end.addr(), Ordering::Release);
        }
        Entry(place)
    }

    /// Whether a part of the map could not be read, and zeros are there instead.
    pub(crate) fn lost(&self) -> bool {
        self.0.is_some_and(|place| MAPS[place][2].load(Ordering::Acquire) != 0)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            MAPS[place][1].store(0, Ordering::Release);
            MAPS[place][0].store(0, Ordering::Release);
        }
    }
}

/// Makes errors of two things that otherwise end the process without a word: reading a checkpoint
/// that is cut short under its memory map (SIGBUS), and writing a file beyond `ulimit -f`
/// (SIGXFSZ).
///
/// Both are settings of the whole process, which is why they are not made unasked: a program calls
/// this once, before it opens checkpoints and after it has installed handlers of its own. Faults
/// outside of our maps are passed on to whoever handled them before. Does nothing outside of Linux.
pub fn survive_signals() {
    #[cfg(target_os = "linux")]
    linux::install();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::Once;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use super::MAPS;

    /// In bytes; asked before the handler is installed, because asking is not allowed within it.
    static PAGE: AtomicUsize = AtomicUsize::new(0);

    /// What was done upon SIGBUS before. Never freed, so that the handler may always read it.
    static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

    pub(super) fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: sysconf has no preconditions.
            #[allow(unsafe_code)]
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let Ok(page @ 1..) = usize::try_from(page) else { return };
            PAGE.store(page, Ordering::Release);
            // SAFETY: `sigaction` is a plain C struct, for which all zeros is a value: no flags, an
            // empty mask, the default action. Both pointers are to values that live through the
            // calls. The handler has the signature that SA_SIGINFO asks for, and does only what a
            // signal handler may: see there.
            #[allow(unsafe_code)]
            unsafe {
                let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
                if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                    return;
                }
                BEFORE.store(Box::into_raw(Box::new(before)), Ordering::Release);
                let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
                ours.sa_sigaction = handler as *const () as usize;
                // The standard library gives its threads a stack of their own for signals; where
                // there is none this flag has no effect.
                ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
            }
        });
        // SAFETY: ignoring a signal runs no code of ours. The write that was too long then returns
        // EFBIG.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    }

    /// Puts zeros where a map has lost its file, or passes the fault on.
    extern "C" fn handler(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
        // SAFETY: the kernel hands a valid `siginfo_t` to a handler that was installed with
        // SA_SIGINFO, and for SIGBUS it holds an address.
        #[allow(unsafe_code)]
        let address = unsafe { (*info).si_addr() }.addr();
        let inside = MAPS.iter().find_map(|[start, end, lost]| {
            let from = start.load(Ordering::Acquire);
            let to = end.load(Ordering::Acquire);
            // Read twice: an entry that changes hands meanwhile is another map's, not the one that
            // faulted.
            let same = start.load(Ordering::Acquire) == from;
            (same && from <= address && address < to).then_some((to, lost))
        });
        let replaced = inside.is_some_and(|(end, lost)| {
            lost.store(1, Ordering::Release);
            let start = address & !(PAGE.load(Ordering::Acquire) - 1);
            // SAFETY: the pages from the one that faulted to the end of the map belong to one of
            // our maps, which is alive: its entry is taken out before it is unmapped, and whoever
            // faulted is reading it. They stay mapped and readable, and are given back with the
            // rest. That bytes of a mapped file may change under a reader is what `Map` has to live
            // with anyway. mmap is a bare system call and takes no lock. errno is put back, as a
            // handler has to.
            #[allow(unsafe_code)]
            unsafe {
                let errno = *libc::__errno_location();
                let done = libc::mmap(
                    ptr::with_exposed_provenance_mut(start),
                    end - start,
                    libc::PROT_READ,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                );
                *libc::__errno_location() = errno;
                done != libc::MAP_FAILED
            }
        });
        if !replaced {
            // SAFETY: sigaction is allowed in a handler, and BEFORE was filled before this was
            // installed and is never freed. The instruction is run again upon return, faults again,
            // and meets whoever was there before us.
            #[allow(unsafe_code)]
            unsafe {
                libc::sigaction(libc::SIGBUS, BEFORE.load(Ordering::Acquire), ptr::null_mut());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_come_and_go() {
        let entered = |map: &[u8]| {
            let start = map.as_ptr().addr();
            MAPS.iter().any(|[s, e, _]| {
                s.load(Ordering::Acquire) == start && e.load(Ordering::Acquire) == start + map.len()
            })
        };
        let (one, two) = (vec![1u8; 100], vec![2u8; 100]);
        let first = Entry::of(&one);
        let second = Entry::of(&two);
        assert!(entered(&one) && entered(&two));
        drop(first);
        assert!(!entered(&one) && entered(&two));
        drop(second);
        assert!(!entered(&two));
        assert!(Entry::of(&[]).0.is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros_and_is_an_error() {
        use crate::WeightsError;
        use crate::map::Map;
        survive_signals();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let map = Map::open(&path).unwrap();
        let bytes = map.bytes(0..1 << 20).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
        assert_eq!((bytes[4999], bytes[5000], bytes[9000], bytes[(1 << 20) - 1]), (7, 0, 0, 0));
        // From several threads at once, and in a second map.
        let other = Map::open(&path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let other = other.all();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(other.iter().map(|&b| u64::from(b)).sum::<u64>(), 0));
            }
        });
        assert!(matches!(map.bytes(0..10), Err(WeightsError::Changed { opened: 1_048_576, now: 0, .. })));
        // The length is as before, but what was read is not what is there.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        assert!(matches!(map.check(), Err(WeightsError::Replaced { .. })));
    }
}
