//! The command line: what `windlass` understands, and its exit codes.
//!
//! Floor: roof.
//! Uses: config, server
//! Crates: serde_json

mod arguments;
mod cluster;
mod command;

pub use command::{EXIT_CONFIG_CODES, main};
