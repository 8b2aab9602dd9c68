//! Wiring: from a configuration to a running node, and back down in order.
//!
//! Floor: roof.
//! Uses: base, telemetry, metadata, runtime, memory, disk, net, blob, raft, registry, exchange, api, admin, config
//! Crates: -

mod error;
mod first_steps;
mod node;
mod options;
mod run;
mod shard;

pub use run::run;
