//! One real process on a machine that is small, narrow, full or slow, and what
//! its operator sees.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
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

mod disk_full;
mod memory;
mod narrow;
mod operator;
mod slow;
