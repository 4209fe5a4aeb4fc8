//! What is under the numbers.

use std::fs;

/// The order of summation that PyTorch itself uses for bf16 on this CPU: up to 32 rows where it has
/// AMX.
pub(crate) fn order() -> &'static str {
    order_of(&field("flags"))
}

fn order_of(flags: &str) -> &'static str {
    let has = |flag| flags.split_whitespace().any(|f| f == flag);
    if has("amx_bf16") || !has("avx512_bf16") { "tile32" } else { "dot2" }
}

/// The name of the CPU.
pub(crate) fn cpu() -> String {
    let name = field("model name");
    if name.is_empty() { "an unnamed CPU".to_owned() } else { name }
}

/// How many other processes wanted to run in the last minute: the measurements were disturbed by
/// them.
pub(crate) fn load() -> Option<String> {
    Some(fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.to_owned())
}

fn field(name: &str) -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned());
    text.lines().find_map(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_instructions() {
        assert_eq!(order_of("fpu avx512_bf16 avx512f"), "dot2");
        assert_eq!(order_of("avx512_bf16 amx_bf16"), "tile32");
        assert_eq!(order_of(""), "tile32");
    }
}
