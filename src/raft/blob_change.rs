//! What replication is told about the applied state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::metadata::Delta;
use crate::oci::Digest;

/// Changes that wait for a listener, about 5 MB; beyond, it goes through all of the
/// state instead.
const CHANGES_MAX: usize = 65_536;

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
/// - Shape: applying must not wait. Where more than `CHANGES_MAX` wait, the last of them
///   is `Everything`, and stands for what comes until the listener has read it: it
///   looks at the state only then.
#[derive(Debug, Clone, Default)]
pub(super) struct BlobChanges {
    listener: Option<flume::Sender<BlobChange>>,
    /// Whether an `Everything` waits behind too many others.
    is_collapsed: Arc<AtomicBool>,
}

impl BlobChanges {
    pub(super) fn new(listener: Option<flume::Sender<BlobChange>>) -> Self {
        Self {
            listener,
            is_collapsed: Arc::default(),
        }
    }

    /// The blobs that a batch is about to change; told once it is visible.
    pub(super) fn of(&self, delta: &Delta) -> Result<Vec<BlobChange>, crate::base::CodecError> {
        if self.listener.is_none() {
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
        let Some(listener) = &self.listener else {
            return;
        };
        for change in changes {
            // What was read of an empty queue is looked at after this change is visible.
            let was_collapsed = self.is_collapsed.load(Ordering::Relaxed);
            let is_collapsed = if was_collapsed {
                !listener.is_empty()
            } else {
                listener.len() >= CHANGES_MAX
            };
            self.is_collapsed.store(is_collapsed, Ordering::Relaxed);
            let _ = match (was_collapsed, is_collapsed) {
                (true, true) => Ok(()),
                (false, true) => listener.send(BlobChange::Everything),
                (_, false) => listener.send(change),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn change(number: u64) -> BlobChange {
        BlobChange::Blob(BlobChanged {
            digest: Digest::of(Algorithm::Sha256, b"blob"),
            generation: number,
            size_bytes: 9,
            is_live: true,
        })
    }

    #[test]
    fn what_a_slow_listener_misses_becomes_one_look_at_everything() {
        let (listener, heard) = flume::unbounded();
        let changes = BlobChanges::new(Some(listener));
        let count = u64::try_from(CHANGES_MAX).unwrap();
        changes.tell((0..2 * count).map(change));
        assert_eq!(heard.len(), CHANGES_MAX + 1);
        let first: Vec<BlobChange> = heard.try_iter().take(CHANGES_MAX).collect();
        assert_eq!(first.last(), Some(&change(count - 1)));
        changes.tell([change(1)]);
        assert_eq!(heard.drain().collect::<Vec<_>>(), [BlobChange::Everything]);
        changes.tell([change(2), change(3)]);
        assert_eq!(heard.drain().collect::<Vec<_>>(), [change(2), change(3)]);
    }
}
