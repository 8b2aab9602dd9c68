//! Ends the process at any moment and checks what it promised before.
//!
//! `WINDLASS_CRASH_ROUNDS` and `WINDLASS_CRASH_SEED` change the length and the
//! course of the loop.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test that cannot go on must fail, and it waits on a real clock"
)]

#[path = "../support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "each test binary uses its part of the support"
)]
mod support;

mod checker;
mod kill_loop;
mod model;
mod shutdown;
mod start;
