//! Use cases of the registry: pull, push, delete and list. Combines the blob
//! store with the replicated metadata; knows no protocol and no socket.
//!
//! Floor: flows.
//! Uses: base, oci, metadata, disk, blob, raft
//! Crates: -

mod content;
mod delete;
mod error;
mod journal;
mod list;
mod manifest;
mod pull;
mod push;
mod space;
mod upload;

pub use content::{Content, StoredContent};
pub use error::Error;
pub use journal::Registry;
pub use manifest::{ManifestPush, ManifestPushed};
pub use pull::{Blob, Manifest};
pub use space::{DiskSpace, DiskSpaceOptions};
pub use upload::Upload;

pub use crate::blob::Piece;
pub use crate::metadata::ReferrerQuery;
