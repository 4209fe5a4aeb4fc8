//! Which instructions a kernel uses. The bits it computes do not depend on that.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::KernelError;

/// The environment variable that names the path to use: `portable`, `avx2`, `avx512`, `avx512-bf16`
/// or `amx-bf16`.
pub const PATH_VARIABLE: &str = "ULPSCOPE_CPU";

/// A set of instructions, slowest first. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Path {
    /// Whatever the compiler makes of plain Rust.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW and VL: products and sums in f32.
    Avx512,
    /// With AVX-512 DQ and BF16 besides: rounding to bf16 by an instruction, and `vdpbf16ps` for
    /// [`Accumulation::Dot2`](crate::Accumulation::Dot2) of bf16 numbers. Both take subnormal
    /// numbers for zero: the second is used only where exponents prove that none can occur, and
    /// what the first made of any is made again without it.
    Avx512Bf16,
    /// With AMX tiles besides, for [`Accumulation::Tile32`](crate::Accumulation::Tile32) and its
    /// blocked form of bf16 numbers. They treat subnormal numbers like `vdpbf16ps`, and are used
    /// under the same condition.
    AmxBf16,
}

impl Path {
    /// Every path, slowest first.
    pub const ALL: [Path; 5] = [Path::Portable, Path::Avx2, Path::Avx512, Path::Avx512Bf16, Path::AmxBf16];

    /// The paths that this CPU can run, slowest first. The first is always [`Path::Portable`].
    pub fn available() -> Vec<Path> {
        Path::ALL.into_iter().filter(|path| path.is_available()).collect()
    }

    /// Whether this CPU has the instructions, and the operating system lets this process use them.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512vl");
            let bf16 = avx512 && has!("avx512dq") && has!("avx512bf16");
            match self {
                Path::Portable => true,
                Path::Avx2 => avx2,
                Path::Avx512 => avx512,
                Path::Avx512Bf16 => bf16,
                Path::AmxBf16 => bf16 && crate::tile::amx::available(),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Path::Portable
        }
    }

    /// Whether this path multiplies many rows, too, best by `vdpbf16ps`: on AMD's CPUs that takes
    /// no longer than one of the two fused multiplications that it replaces, on Intel's four times
    /// as long. (AMX leaves nothing for it to do.)
    pub(crate) fn dots_are_fast(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            static FAST: OnceLock<bool> = OnceLock::new();
            self == Path::Avx512Bf16
                && *FAST.get_or_init(|| {
                    let vendor = std::arch::x86_64::__cpuid(0);
                    [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
                })
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// This path, if the CPU can run it.
    ///
    /// # Errors
    /// [`KernelError::MissingInstructions`] if not.
    pub fn checked(self) -> Result<Path, KernelError> {
        if self.is_available() {
            return Ok(self);
        }
        let available: Vec<_> = Path::available().iter().map(Path::to_string).collect();
        Err(KernelError::MissingInstructions { name: self.name(), available: available.join(", ") })
    }

    /// Has [`Path::AmxBf16`] taken for available. For tests that execute its instructions in
    /// software; to be called before anything asks for a path.
    ///
    /// # Safety
    /// The process handles the instructions, if the CPU does not.
    #[doc(hidden)]
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    pub unsafe fn assume_amx() {
        // SAFETY: as the caller promises.
        unsafe { crate::tile::amx::assume() }
    }

    /// The path that `ULPSCOPE_CPU` names, or the fastest one. Read once, when first asked.
    ///
    /// # Errors
    /// If the variable names no path, or one that this CPU cannot run.
    pub fn detect() -> Result<Path, KernelError> {
        static DETECTED: OnceLock<Result<Path, KernelError>> = OnceLock::new();
        DETECTED.get_or_init(|| Path::choose(std::env::var(PATH_VARIABLE).ok().as_deref())).clone()
    }

    /// What [`Path::detect`] answers if the variable has this value.
    fn choose(name: Option<&str>) -> Result<Path, KernelError> {
        match name {
            None | Some("") => Ok(Path::available().last().copied().unwrap_or(Path::Portable)),
            Some(name) => name.parse::<Path>()?.checked(),
        }
    }

    /// The name that the environment variable and records use.
    pub fn name(self) -> &'static str {
        match self {
            Path::Portable => "portable",
            Path::Avx2 => "avx2",
            Path::Avx512 => "avx512",
            Path::Avx512Bf16 => "avx512-bf16",
            Path::AmxBf16 => "amx-bf16",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Path {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Self, KernelError> {
        let unknown = || KernelError::UnknownPath { name: name.to_owned() };
        Path::ALL.into_iter().find(|path| path.name() == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_a_path_or_is_refused() {
        assert_eq!(Path::choose(None), Ok(*Path::available().last().unwrap()));
        assert_eq!(Path::choose(Some("")), Path::choose(None));
        assert_eq!(Path::choose(Some("portable")), Ok(Path::Portable));
        let error = Path::choose(Some("amx2")).unwrap_err().to_string();
        assert!(error.contains("amx2") && error.contains("ULPSCOPE_CPU"), "{error}");
        for path in Path::ALL {
            match Path::choose(Some(path.name())) {
                Ok(chosen) => assert!(chosen == path && path.is_available()),
                Err(error) => {
                    assert!(!path.is_available());
                    assert!(error.to_string().contains("portable"), "{error}");
                }
            }
        }
    }
}
