//! The command line: what `windlass` understands, and its exit codes.
//!
//! Floor: roof.
//! Uses: base, auth, oci, runtime, disk, net, config, admin, server
//! Crates: rustix, serde_json, ureq

mod access;
mod arguments;
mod cluster;
mod command;
mod joining;
mod operator;
mod plain;
mod secured;
mod status;
mod token;
mod watch;

pub use command::{EXIT_CONFIG_CODES, main};
