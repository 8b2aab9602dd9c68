//! Wiring: from a configuration to a running node, and back down in order.
//!
//! Floor: roof.
//! Uses: base, telemetry, auth, metadata, runtime, memory, disk, net, guard, blob, peer, raft, replication, registry, exchange, api, cluster, admin, config
//! Crates: -

mod access;
mod certificates;
mod consensus;
mod error;
mod first_steps;
mod form;
mod join;
mod membership;
mod node;
mod options;
mod peers;
mod run;
mod shard;

pub use access::rules;
pub use join::{Invitation, init, join};
pub use run::run;
