//! Copies of blobs on every node: what this one lacks is fetched from those that hold
//! it, what others lack is served, and a push is acknowledged when enough have it.
//!
//! One coordinator per node decides what is fetched next; the shards fetch, serve, and
//! read along for their clients. Nobody needs to be told twice: what is missing is found
//! in the state.
//!
//! Floor: flows.
//! Uses: base, blob, memory, metadata, oci, peer, transfer, raft, runtime, telemetry
//! Crates: tokio

mod ahead;
mod announce;
mod attempt;
mod blob_file;
mod candidates;
mod content;
mod coordinator;
mod dispatch;
mod doubts;
mod feed;
mod fetch;
mod filled;
mod hold;
mod leaving;
mod lent;
mod letter;
mod message;
mod options;
mod pace;
mod parked;
mod peers;
mod plan;
mod plan_sources;
mod ranges;
mod repair;
mod replicator;
mod room;
#[cfg(test)]
mod sample;
mod serve;
mod share;
mod shared;
#[cfg(test)]
mod slow_link;
mod sources;
mod sources_ahead;
mod spread;
mod survey;
mod take;
mod tee;
#[cfg(test)]
mod testing;

pub use blob_file::BlobFile;
pub use content::{Content, ContentError};
pub use hold::HoldError;
pub use options::Options;
pub use peers::{Peer, Peers};
pub use replicator::Replicator;
pub use room::Room;
pub use shared::{Parts, Shared};

#[cfg(test)]
#[path = "fetch_test.rs"]
mod fetch_tests;
#[cfg(test)]
#[path = "follow_test.rs"]
mod follow_tests;
#[cfg(test)]
#[path = "hold_test.rs"]
mod hold_tests;
#[cfg(test)]
#[path = "repair_test.rs"]
mod repair_tests;
#[cfg(test)]
#[path = "sources_test.rs"]
mod sources_tests;
