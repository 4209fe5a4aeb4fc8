//! End to end: the `ulpscope` binary on the fixtures, without a network and without Python.

#![allow(clippy::print_stdout, reason = "a test that can not run here says why")]

mod checkpoint;
mod compare;
mod damage;
mod departed;
mod edge;
mod explain;
mod input;
mod interrupt;
mod manners;
mod names;
mod order;
mod output;
mod ports;
mod pytorch;
mod readings;
mod real;
mod report;
mod secrets;
mod strings;
mod tokens;
mod trace;
mod util;
