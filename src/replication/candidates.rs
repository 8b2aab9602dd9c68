//! Which nodes have a blob, as the state says.

use super::blob_file::BlobFile;
use super::peers::Peer;
use crate::base::units::index_of;
use crate::metadata;
use crate::raft::StateView;

/// Whether the state has a blob under this generation.
pub(super) fn is_live(view: &StateView, file: &BlobFile) -> Result<bool, metadata::StateError> {
    let record = metadata::blob(view, &file.digest)?;
    let is_this = |blob: &metadata::BlobRecord| blob.generation == file.generation;
    Ok(record.is_some_and(|blob| is_this(&blob) && !blob.is_inline))
}

/// The nodes to ask for a blob: where it was pushed, then those that hold it, spread by
/// the digest; when none is known, all of them.
pub(super) fn candidates(
    view: &StateView,
    peers: &[Peer],
    file: &BlobFile,
    origin: Option<u64>,
) -> Vec<u64> {
    holders(view, peers, file, origin).nodes
}

/// The nodes to ask for a blob, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holders {
    pub(super) nodes: Vec<u64>,
    /// Whether they are known to hold it; else nobody is, and these are all nodes.
    pub(super) are_known: bool,
}

/// As [`candidates`], and says whether any is known.
pub(super) fn holders(
    view: &StateView,
    peers: &[Peer],
    file: &BlobFile,
    origin: Option<u64>,
) -> Holders {
    let holders = metadata::holders(view, &file.digest).unwrap_or_else(|error| {
        tracing::error!(%error, "the applied state cannot be read");
        Vec::new()
    });
    let is_peer = |node: &u64| peers.iter().any(|peer| peer.node.id == *node);
    let mut nodes: Vec<u64> = holders.into_iter().filter(is_peer).collect();
    let origin = origin.filter(is_peer);
    let are_known = !nodes.is_empty() || origin.is_some();
    if !are_known {
        nodes = peers.iter().map(|peer| peer.node.id).collect();
    }
    if !nodes.is_empty() {
        let first = file.digest.as_bytes().first_chunk::<8>();
        let number = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let count = nodes.len();
        nodes.rotate_left(index_of(number) % count);
    }
    if let Some(origin) = origin {
        nodes.retain(|node| *node != origin);
        nodes.insert(0, origin);
    }
    Holders { nodes, are_known }
}
