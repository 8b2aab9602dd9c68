//! Use cases of the registry: pull, push, delete and list. Combines the blob
//! store with the replicated metadata; knows no protocol of clients.
//!
//! Floor: flows.
//! Uses: base, telemetry, oci, metadata, runtime, memory, disk, net, blob, peer, raft, replication
//! Crates: tokio

mod content;
mod copies;
mod delete;
mod error;
mod freshness;
mod journal;
mod list;
mod manifest;
mod pull;
mod push;
mod relay;
mod relay_error;
mod relay_message;
mod relay_serve;
mod remote_upload;
mod session;
mod space;
mod upload;

pub use content::{BrokenContent, Content, StoredContent};
pub use copies::{Acknowledge, AcknowledgeRules};
pub use error::Error;
pub use freshness::{Freshness, Seen};
pub use journal::Registry;
pub use manifest::{ManifestPush, ManifestPushed};
pub use pull::{Blob, Manifest};
pub use relay::Relay;
pub use relay_message::WhenCut;
pub use relay_serve::RelayServer;
pub use space::{DiskSpace, DiskSpaceOptions};
pub use upload::Upload;

pub use crate::blob::Piece;
pub use crate::metadata::ReferrerQuery;
