//! AMX in software, for CPUs that have none: a handler of illegal instructions that executes those
//! of tiles.
//!
//! It knows the instructions that the kernels use, in the forms in which they use them, and follows
//! Intel's documentation of each: a tile file for each thread, numbers below f32's normal range
//! taken for zero and made zero, rounding to nearest. Whatever else is illegal ends the process as
//! it would have without.

#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, dead_code, unused_imports, unreachable_pub)]
#![allow(clippy::needless_range_loop)] // as the documentation counts

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn install() -> bool {
    false
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use linux::{executed, install};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod linux {
    use std::cell::UnsafeCell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Products of tiles that were executed.
    static EXECUTED: AtomicU64 = AtomicU64::new(0);

    /// How many products of tiles the emulator has executed in this process.
    pub fn executed() -> u64 {
        EXECUTED.load(Ordering::Relaxed)
    }

    /// Installs the handler, once. False if this CPU has not even the instructions that the handler
    /// itself needs.
    pub fn install() -> bool {
        static DONE: OnceLock<bool> = OnceLock::new();
        *DONE.get_or_init(|| {
            if !std::is_x86_feature_detected!("fma") || !std::is_x86_feature_detected!("avx512f") {
                return false;
            }
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
                action.sa_sigaction = handler as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) == 0
            }
        })
    }

    #[derive(Clone, Copy)]
    struct Tile {
        rows: usize,
        /// Bytes of a row.
        bytes: usize,
        data: [[u8; 64]; 16],
    }

    const NONE: Tile = Tile { rows: 0, bytes: 0, data: [[0; 64]; 16] };

    struct File {
        configured: bool,
        tiles: [Tile; 8],
    }

    thread_local! {
        // Constant and without a destructor, so that a signal handler may use it.
        static FILE: UnsafeCell<File> = const { UnsafeCell::new(File { configured: false, tiles: [NONE; 8] }) };
    }

    extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let done = unsafe {
            let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            FILE.with(|file| step(registers, &mut *file.get()))
        };
        if done.is_none() {
            // With the handler gone, the instruction ends the process when it is tried again.
            unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
        }
    }

    /// Executes one instruction. `None` if it is none of tiles, or one that would fault.
    unsafe fn step(registers: &mut [i64; 23], file: &mut File) -> Option<()> {
        let rip = registers[libc::REG_RIP as usize] as *const u8;
        let byte = |i: usize| unsafe { *rip.add(i) };
        // Three bytes of VEX, map 0F38, 128 bits, W 0.
        if byte(0) != 0xc4 || byte(1) & 0x1f != 2 || byte(2) & 0x84 != 0 {
            return None;
        }
        let (r, x, b) = (!byte(1) >> 7 & 1, !byte(1) >> 6 & 1, !byte(1) >> 5 & 1);
        let (vvvv, prefix, opcode, modrm) = (!byte(2) >> 3 & 15, byte(2) & 3, byte(3), byte(4));
        let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), modrm & 7);
        let mut length = 5;
        let (mut address, mut stride) = (0u64, 0u64);
        if mode != 3 {
            let value = |number: u8| registers[GENERAL[usize::from(number)] as usize] as u64;
            if rm == 4 {
                let sib = byte(length);
                length += 1;
                if sib & 7 == 5 && mode == 0 {
                    return None;
                }
                address = value(sib & 7 | b << 3);
                let index = sib >> 3 & 7 | x << 3;
                stride = if index == 4 { 0 } else { value(index) << (sib >> 6) };
            } else {
                if rm == 5 && mode == 0 {
                    return None;
                }
                address = value(rm | b << 3);
            }
            let displacement = match mode {
                1 => i64::from(byte(length) as i8),
                2 => i64::from(unsafe { rip.add(length).cast::<i32>().read_unaligned() }),
                _ => 0,
            };
            length += [0, 1, 4][usize::from(mode)];
            address = address.wrapping_add(displacement as u64);
        }
        let row = |i: usize| address.wrapping_add(stride.wrapping_mul(i as u64)) as *mut u8;
        let sibling = mode != 3 && rm == 4;
        match (opcode, prefix) {
            // ldtilecfg
            (0x49, 0) if mode != 3 && reg == 0 => configure(file, unsafe { &*(address as *const [u8; 64]) })?,
            // tilerelease
            (0x49, 0) if modrm == 0xc0 => *file = File { configured: false, tiles: [NONE; 8] },
            // tilezero
            (0x49, 3) if mode == 3 && rm == 0 && r == 0 => used(file, reg)?.data = [[0; 64]; 16],
            // tileloadd, tileloaddt1
            (0x4b, 1 | 3) if sibling && r == 0 => {
                let tile = used(file, reg)?;
                tile.data = [[0; 64]; 16];
                for i in 0..tile.rows {
                    let to = tile.data[i].as_mut_ptr();
                    unsafe { std::ptr::copy_nonoverlapping(row(i), to, tile.bytes) };
                }
            }
            // tilestored
            (0x4b, 2) if sibling && r == 0 => {
                let tile = used(file, reg)?;
                for i in 0..tile.rows {
                    unsafe { std::ptr::copy_nonoverlapping(tile.data[i].as_ptr(), row(i), tile.bytes) };
                }
            }
            // tdpbf16ps
            (0x5c, 2) if mode == 3 && r == 0 && vvvv < 8 => {
                let (a, b) = (*used(file, usize::from(rm))?, *used(file, usize::from(vvvv))?);
                let c = used(file, reg)?;
                let distinct = reg != usize::from(rm) && reg != usize::from(vvvv) && rm != vvvv;
                if !distinct
                    || c.rows != a.rows
                    || c.bytes != b.bytes
                    || a.bytes / 4 != b.rows
                    || a.bytes % 4 != 0
                {
                    return None;
                }
                unsafe { dot(c, &a, &b) };
                EXECUTED.fetch_add(1, Ordering::Relaxed);
            }
            _ => return None,
        }
        registers[libc::REG_RIP as usize] += length as i64;
        Some(())
    }

    /// The general registers by their numbers in instructions.
    const GENERAL: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];

    fn used(file: &mut File, tile: usize) -> Option<&mut Tile> {
        (file.configured && file.tiles[tile].rows > 0).then_some(&mut file.tiles[tile])
    }

    fn configure(file: &mut File, config: &[u8; 64]) -> Option<()> {
        let reserved = config[2..16].iter().chain(&config[32..48]).chain(&config[56..64]);
        if config[0] != 1 || config[1] != 0 || reserved.into_iter().any(|&byte| byte != 0) {
            return None;
        }
        for (i, tile) in file.tiles.iter_mut().enumerate() {
            let bytes = usize::from(u16::from_le_bytes([config[16 + 2 * i], config[17 + 2 * i]]));
            let rows = usize::from(config[48 + i]);
            if bytes > 64 || rows > 16 || (bytes == 0) != (rows == 0) {
                return None;
            }
            *tile = Tile { rows, bytes, ..NONE };
        }
        file.configured = true;
        Some(())
    }

    /// `TDPBF16PS`: of each pair, the first numbers' products go to one sum, the second ones' to
    /// another, and both together to the accumulator.
    #[target_feature(enable = "avx512f,fma")]
    fn dot(c: &mut Tile, a: &Tile, b: &Tile) {
        let bf16 = |tile: &Tile, row: usize, i: usize| {
            let bits = u16::from_le_bytes([tile.data[row][2 * i], tile.data[row][2 * i + 1]]);
            flush(f32::from_bits(u32::from(bits) << 16))
        };
        let mut wide = [[[0.0f32; 16]; 2]; 16];
        for (k, wide) in wide.iter_mut().enumerate().take(b.rows) {
            for n in 0..b.bytes / 4 {
                *wide = {
                    let mut pair = *wide;
                    pair[0][n] = bf16(b, k, 2 * n);
                    pair[1][n] = bf16(b, k, 2 * n + 1);
                    pair
                };
            }
        }
        for m in 0..c.rows {
            let mut sums = [[0.0f32; 16]; 2];
            for (k, wide) in wide.iter().enumerate().take(b.rows) {
                for half in 0..2 {
                    let x = bf16(a, m, 2 * k + half);
                    for n in 0..16 {
                        sums[half][n] = flush(x.mul_add(wide[half][n], sums[half][n]));
                    }
                }
            }
            for n in 0..c.bytes / 4 {
                let place = &mut c.data[m][4 * n..4 * n + 4];
                let before = flush(f32::from_le_bytes([place[0], place[1], place[2], place[3]]));
                let after = flush(before + flush(sums[0][n] + sums[1][n]));
                place.copy_from_slice(&after.to_le_bytes());
            }
        }
    }

    /// Zero, with its sign, in the place of a subnormal number.
    #[inline(always)]
    fn flush(x: f32) -> f32 {
        if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
    }
}
