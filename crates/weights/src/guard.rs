//! Other people's parsers, kept from ending the process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; if it panics, the error is what the panic said, on one line.
///
/// A file may be anything, and some parsers take a file at its word. The panic is an error like any
/// other, and says nothing on stderr: the first call adds to the panic hook that it is not asked
/// while this runs.
pub(crate) fn guarded<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        assert_eq!(guarded(|| 3), Ok(3));
        let index = std::hint::black_box(7);
        assert_eq!(guarded(|| panic!("no\nsuch {index}")), Err::<(), _>("no such 7".to_owned()));
        assert!(guarded(|| [1, 2][index]).unwrap_err().contains("out of bounds"));
    }
}
