//! The command line: what `windlass` understands, and its exit codes.
//!
//! Floor: roof.
//! Uses: auth, oci, config, server
//! Crates: rustix, serde_json

mod access;
mod arguments;
mod cluster;
mod command;

pub use command::{EXIT_CONFIG_CODES, main};
