//! The instructions, in the few forms that the kernels need.

use super::{Config, Operands, ROW, TILE};

/// Gives the tiles of this thread their shapes, and zeros them. The compiler keeps nothing in
/// tiles.
///
/// # Safety
/// There are tiles, and the configuration is one of palette 1.
pub(super) unsafe fn configure(config: &Config) {
    // SAFETY: as the caller promises.
    unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) config, options(readonly, nostack, preserves_flags)) };
}

/// Gives the tiles of this thread up.
///
/// # Safety
/// There are tiles.
pub(super) unsafe fn release() {
    // SAFETY: as the caller promises.
    unsafe { std::arch::asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}

// Tiles 0 to 3 hold sums, 4 and 5 x, 6 and 7 panels. `{s}` is the distance of rows of tiles in
// memory.

/// Few rows wait for the panel, which memory delivers no faster than one chain of tiles takes it.
/// The hardware's own prefetching stops at the end of each page, so that memory is asked for what
/// comes 4 KiB later.
///
/// # Safety
/// Tiles are configured; `at` says how much can be read and written, for whole tiles of `step / 64`
/// rows of x.
pub(super) unsafe fn one_by_one(at: &Operands, step: usize) {
    // SAFETY: as the caller promises. A prefetch never faults.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "2:",
            "tileloadd tmm4, [{x} + {s}*1]",
            "tileloadd tmm6, [{w} + {s}*1]",
            "prefetcht0 [{w} + 4096]", "prefetcht0 [{w} + 4160]", "prefetcht0 [{w} + 4224]", "prefetcht0 [{w} + 4288]",
            "prefetcht0 [{w} + 4352]", "prefetcht0 [{w} + 4416]", "prefetcht0 [{w} + 4480]", "prefetcht0 [{w} + 4544]",
            "prefetcht0 [{w} + 4608]", "prefetcht0 [{w} + 4672]", "prefetcht0 [{w} + 4736]", "prefetcht0 [{w} + 4800]",
            "prefetcht0 [{w} + 4864]", "prefetcht0 [{w} + 4928]", "prefetcht0 [{w} + 4992]", "prefetcht0 [{w} + 5056]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "add {x}, {step}",
            "add {w}, {tile}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {s}*1], tmm0",
            x = inout(reg) at.x[0] => _, w = inout(reg) at.w[0] => _, n = inout(reg) at.chunks => _,
            step = in(reg) step, s = in(reg) ROW, out = in(reg) at.out, tile = const TILE,
            out("tmm0") _, out("tmm4") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// # Safety
/// As for [`one_by_one`].
pub(super) unsafe fn one_by_two(at: &Operands, step: usize) {
    // SAFETY: as the caller promises.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{x} + {s}*1]",
            "tileloadd tmm6, [{w0} + {s}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{w1} + {s}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {x}, {step}",
            "add {w0}, {tile}",
            "add {w1}, {tile}",
            "dec {n}",
            "jnz 2b",
            "add {s}, {s}",
            "tilestored [{out} + {s}*1], tmm0",
            "tilestored [{out} + {s}*1 + 64], tmm1",
            x = inout(reg) at.x[0] => _, w0 = inout(reg) at.w[0] => _, w1 = inout(reg) at.w[1] => _,
            n = inout(reg) at.chunks => _, s = inout(reg) ROW => _,
            step = in(reg) step, out = in(reg) at.out, tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// # Safety
/// As for [`two_by_two`].
pub(super) unsafe fn two_by_one(at: &Operands) {
    // SAFETY: as the caller promises.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "tilezero tmm2",
            "2:",
            "tileloadd tmm6, [{w} + {s}*1]",
            "tileloadd tmm4, [{x0} + {s}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{x1} + {s}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {x0}, {tile}",
            "add {x1}, {step}",
            "add {w}, {tile}",
            "dec {n}",
            "jnz 2b",
            "tilestored [{out} + {s}*1], tmm0",
            "tilestored [{out} + {s}*1 + 1024], tmm2",
            x0 = inout(reg) at.x[0] => _, x1 = inout(reg) at.x[1] => _, w = inout(reg) at.w[0] => _,
            n = inout(reg) at.chunks => _,
            step = in(reg) at.step, s = in(reg) ROW, out = in(reg) at.out, tile = const TILE,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// Four sums of tiles in turns, so that none waits for itself, and one load for each product.
///
/// # Safety
/// Tiles are configured, the upper ones for 16 rows; `at` says how much can be read and written.
pub(super) unsafe fn two_by_two(at: &Operands) {
    // SAFETY: as the caller promises.
    unsafe {
        std::arch::asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{x0} + {s}*1]",
            "tileloadd tmm6, [{w0} + {s}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{w1} + {s}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{x1} + {s}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {x0}, {tile}",
            "add {x1}, {step}",
            "add {w0}, {tile}",
            "add {w1}, {tile}",
            "dec {n}",
            "jnz 2b",
            "add {s}, {s}",
            "tilestored [{out} + {s}*1], tmm0",
            "tilestored [{out} + {s}*1 + 64], tmm1",
            "tilestored [{out} + {s}*1 + 2048], tmm2",
            "tilestored [{out} + {s}*1 + 2112], tmm3",
            x0 = inout(reg) at.x[0] => _, x1 = inout(reg) at.x[1] => _,
            w0 = inout(reg) at.w[0] => _, w1 = inout(reg) at.w[1] => _,
            n = inout(reg) at.chunks => _, s = inout(reg) ROW => _,
            step = in(reg) at.step, out = in(reg) at.out, tile = const TILE,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
