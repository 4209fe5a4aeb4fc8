//! There are no tiles on this architecture, so that nothing here is ever called.

use super::{Config, Operands};

macro_rules! none {
    ($($name:ident($($argument:ty),*)),*) => {
        $(
            /// # Safety
            /// There are tiles.
            pub(super) unsafe fn $name($(_: $argument),*) {
                unreachable!("the path was checked")
            }
        )*
    };
}
none!(
    configure(&Config),
    release(),
    one_by_one(&Operands, usize),
    one_by_two(&Operands, usize),
    two_by_one(&Operands),
    two_by_two(&Operands)
);
