//! Plain loops, compiled once for each path.

/// Defines `$name(path, …)`, or `$name::<T>(path, …)`, which runs `$body::<FMA>(path, …)`, or
/// `$body::<T, FMA>(path, …)`, compiled for the path's instructions. `FMA` says whether
/// `f32::mul_add` is an instruction there; the body has to be `#[inline(always)]`. The bits are the
/// same by every path.
macro_rules! by_path {
    ($(#[$meta:meta])* $name:ident$(<$T:ident: $bound:ident>)?($($arg:ident: $type:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        pub(crate) fn $name$(<$T: $bound>)?(path: $crate::Path, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,fma,f16c")]
            fn avx512$(<$T: $bound>)?(path: $crate::Path, $($arg: $type),*) $(-> $result)? {
                $body::<$($T,)? true>(path, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2$(<$T: $bound>)?(path: $crate::Path, $($arg: $type),*) $(-> $result)? {
                $body::<$($T,)? true>(path, $($arg),*)
            }
            match path {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: paths are checked against the CPU where they enter the crate.
                $crate::Path::Avx512 | $crate::Path::Avx512Bf16 | $crate::Path::AmxBf16 => unsafe { avx512(path, $($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::Path::Avx2 => unsafe { avx2(path, $($arg),*) },
                _ => $body::<$($T,)? false>(path, $($arg),*),
            }
        }
    };
}
pub(crate) use by_path;

/// `a·b + c`, rounded once; `FMA` says whether that is an instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { crate::lanes::fused(a, b, c) }
}
