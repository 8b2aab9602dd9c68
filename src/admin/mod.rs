//! The operators' door: metrics, and the probes of whoever supervises the node.
//!
//! Floor: doors
//! Uses: telemetry, http, runtime, net, exchange
//! Crates: serde_json

mod door;
mod health;
mod page;

pub use door::{Door, PROBE_TIMEOUT};
pub use health::{Health, Phase};
