//! Wiring: from a configuration to a running node, and back down in order.
//!
//! Floor: roof.
//! Uses: base, telemetry, http, proxy, auth, quota, metadata, runtime, memory, disk, net, guard, blob, peer, raft, replication, registry, exchange, api, cluster, admin, config
//! Crates: -

mod access;
mod belonging;
mod certificates;
mod connections;
mod consensus;
mod entries;
mod error;
mod first_steps;
mod form;
mod join;
mod membership;
mod node;
mod options;
mod peers;
mod report;
mod run;
mod self_signed;
mod shard;
mod tls_files;

pub use access::{certified, rules};
pub use join::{Invitation, JoinStep, init, join};
pub use run::run;
pub use self_signed::self_signed;
