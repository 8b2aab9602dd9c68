//! The command line: what `windlass` understands, and its exit codes.
//!
//! Floor: roof.
//! Uses: auth, oci, disk, net, config, admin, server
//! Crates: rustix, serde_json, ureq

mod access;
mod arguments;
mod cluster;
mod command;
mod secured;

pub use command::{EXIT_CONFIG_CODES, main};
