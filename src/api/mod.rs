//! The registry's front door: the endpoints of the distribution specification.
//!
//! Parses a request, calls one use case of `registry`, writes its answer. Knows
//! neither blobs on disk nor the journal.
//!
//! Floor: doors.
//! Uses: base, telemetry, oci, http, auth, quota, guard, registry, exchange
//! Crates: serde_json

mod access;
mod answer;
mod audit;
mod door;
mod endpoint;
mod failure;
mod list;
mod manifest;
mod page;
mod pull;
mod route;
mod token;
mod upload;

pub use door::{Door, Options};
pub use endpoint::endpoints;
