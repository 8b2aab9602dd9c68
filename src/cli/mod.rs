//! The command line: what `windlass` understands, and its exit codes.
//!
//! Floor: roof.
//! Uses: config
//! Crates: -

mod arguments;
mod command;

pub use command::{EXIT_CONFIG_CODES, main};
