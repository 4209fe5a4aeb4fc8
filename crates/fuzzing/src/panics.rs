//! Panics of an execution: caught, silent, and with their place.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static FUZZING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `f`; the error is the panic's message and place.
///
/// A panic that `f` catches itself is told by [`caught_inside`].
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if FUZZING.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                let message = info.payload_as_str().unwrap_or("a panic without words");
                PLACE.with_borrow_mut(|kept| *kept = Some(format!("{place}: {message}")));
            } else {
                before(info);
            }
        }));
    });
    let before = FUZZING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    FUZZING.set(before);
    result.map_err(|_| PLACE.take().unwrap_or_default())
}

/// The place of a panic since the last call that did not come out of [`catch`].
pub(crate) fn caught_inside() -> Option<String> {
    PLACE.take()
}
