//! What those who wait for a blob hear of its fetch, on whatever shard they are.

use std::sync::Arc;

use tokio::sync::watch;

use crate::blob::UploadId;

/// How far a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing of it is here.
    Waiting,
    /// A file of it may be read up to `readable_bytes`, each extent of which is right.
    Building {
        /// Names the file. A fetch that has to begin again has another one.
        id: UploadId,
        /// How far it may be read.
        readable_bytes: u64,
    },
    /// This node cannot write it now.
    Unwritable,
    /// It is here, under its final name.
    Sealed,
    /// All of it came, and it is something else. What was read of it is worthless.
    Corrupt,
}

/// The telling end. Clones tell the same listeners.
#[derive(Debug, Clone)]
pub(super) struct Feed(Arc<watch::Sender<Stage>>);

/// The listening end; an error of its `changed` means that the blob is not awaited any
/// more, because it was condemned.
pub(super) type Listener = watch::Receiver<Stage>;

impl Feed {
    /// Nothing to tell yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Waiting)))
    }

    /// Tells, when it is news.
    pub(super) fn tell(&self, stage: Stage) {
        self.0
            .send_if_modified(|told| std::mem::replace(told, stage) != stage);
    }

    /// What was told last.
    pub(super) fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// One more listener.
    pub(super) fn listen(&self) -> Listener {
        self.0.subscribe()
    }
}
