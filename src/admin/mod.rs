//! The operators' door: metrics, the probes of whoever supervises the node, and the
//! state of the cluster with what operators may change there, robots included.
//!
//! Floor: doors
//! Uses: base, telemetry, http, auth, metadata, runtime, net, raft, cluster, exchange
//! Crates: serde_json

mod asker;
mod door;
mod health;
mod page;
mod robots;
mod robots_page;
mod status;

pub use asker::OPERATOR_HEADER;
pub use door::{Door, PROBE_TIMEOUT};
pub use health::{Health, Phase};
pub use robots::{RobotError, Robots};
