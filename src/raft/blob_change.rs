//! What replication is told about the applied state.

use crate::metadata::Delta;
use crate::oci::Digest;

/// What became of the blobs that have files. Sent after the state shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobChange {
    /// The record of one of them was written.
    Blob(BlobChanged),
    /// A snapshot took the place of the state: all of them have to be looked at.
    Everything,
}

/// A blob as its record now says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobChanged {
    /// Its digest.
    pub digest: Digest,
    /// Names its file together with the digest.
    pub generation: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Whether it may be read; else it was condemned.
    pub is_live: bool,
}

/// Tells the other end of a channel, if there is one.
///
/// - Shape: unbounded, because applying must not wait; whoever listens keeps no more
///   than a plan of what is missing.
#[derive(Debug, Clone, Default)]
pub(super) struct BlobChanges(pub(super) Option<flume::Sender<BlobChange>>);

impl BlobChanges {
    /// The blobs that a batch is about to change; told once it is visible.
    pub(super) fn of(&self, delta: &Delta) -> Result<Vec<BlobChange>, crate::base::CodecError> {
        if self.0.is_none() {
            return Ok(Vec::new());
        }
        let with_files = delta
            .blobs()?
            .into_iter()
            .filter(|(_, blob)| !blob.is_inline);
        let changes = with_files.map(|(digest, blob)| {
            BlobChange::Blob(BlobChanged {
                digest,
                generation: blob.generation,
                size_bytes: blob.size_bytes,
                is_live: blob.is_live(),
            })
        });
        Ok(changes.collect())
    }

    /// Tells. Without a listener the process is about to end.
    pub(super) fn tell(&self, changes: impl IntoIterator<Item = BlobChange>) {
        if let Some(listener) = &self.0 {
            for change in changes {
                let _ = listener.send(change);
            }
        }
    }
}
