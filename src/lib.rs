//! windlass: a container image registry that a team runs on its own machines.
//!
//! Rooms stand on floors; imports go down. The order of the `mod` lines is the
//! floor order, from the ground up; `tests/architecture.rs` holds them to it.

pub mod base;
pub mod telemetry;
pub mod oci;
pub mod http;
pub mod proxy;
pub mod auth;
pub mod quota;
pub mod metadata;
pub mod runtime;
pub mod memory;
pub mod disk;
pub mod net;
pub mod journal;
pub mod guard;
pub mod blob;
pub mod peer;
pub mod transfer;
pub mod raft;
pub mod replication;
pub mod registry;
pub mod exchange;
pub mod api;
pub mod cluster;
pub mod admin;
pub mod config;
pub mod server;
pub mod cli;
