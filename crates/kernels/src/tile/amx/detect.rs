//! Whether there are tiles, and whether they may be used.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set by [`assume`].
static ASSUMED: AtomicBool = AtomicBool::new(false);

/// Whether this CPU multiplies tiles of bf16, and the operating system lets this process have them.
///
/// The system is asked once. It grants the permission to all threads of the process, those to come
/// included, and from then on leaves room for tiles in the frames of signal handlers.
pub(crate) fn available() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    let granted = *GRANTED.get_or_init(|| in_cpu() && enabled() && granted());
    #[cfg(test)]
    if !granted {
        return super::emulator::install();
    }
    granted || ASSUMED.load(Ordering::Relaxed)
}

/// Makes [`available`] say yes.
///
/// # Safety
/// Whoever calls this executes the instructions if the CPU does not: a test's handler of illegal
/// instructions.
pub(crate) unsafe fn assume() {
    ASSUMED.store(true, Ordering::Relaxed);
}

/// The instructions, and tiles as large as the kernels take them to be.
fn in_cpu() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const PALETTES: u32 = 0x1d;
    if __cpuid_count(0, 0).eax < PALETTES
        || __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) != AMX_BF16 | AMX_TILE
    {
        return false;
    }
    // Of palette 1: bytes of a tile in the upper half of eax; bytes of a row and the number of
    // tiles in ebx; rows in ecx.
    let palette = __cpuid_count(PALETTES, 1);
    palette.eax >> 16 >= 1024
        && palette.ebx & 0xffff >= 64
        && palette.ebx >> 16 >= 8
        && palette.ecx & 0xffff >= 16
}

/// Whether the operating system saves tiles (bits 17 and 18 of XCR0) when it switches threads.
fn enabled() -> bool {
    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: `available` is asked of CPUs with AVX-512, whose detection includes that the
        // system has enabled this very instruction.
        unsafe { std::arch::x86_64::_xgetbv(0) }
    }
    const OSXSAVE: u32 = 1 << 27;
    const TILES: u64 = 0b11 << 17;
    // SAFETY: CPUID says that the instruction is there and enabled.
    __cpuid_count(1, 0).ecx & OSXSAVE != 0 && unsafe { xcr0() } & TILES == TILES
}

/// Asks Linux for the permission, which it demands since 5.16.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let answer: i64;
    // SAFETY: a system call that touches no memory of ours. It clobbers rcx and r11 as all of them
    // do.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    answer == 0
}

/// How other systems hand out tiles has not been tried.
#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
