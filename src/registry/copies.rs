//! Copies of a blob on other nodes: made before a push is acknowledged, and used
//! where this node lacks the blob.

use super::content::Content;
use super::error::Error;
use super::pull::Blob;
use crate::blob::{self, Sealed, Tap};
use crate::raft::Handle;
use crate::replication::{BlobFile, ContentError, Replicator};

/// On how many nodes a blob is durable before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// On the node that took it.
    One,
    /// On more than half of the voters.
    Quorum,
    /// On every voter.
    All,
}

impl Acknowledge {
    /// Copies on other nodes, where so many nodes vote.
    const fn copies(self, voters: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Quorum => voters / 2,
            Self::All => voters.saturating_sub(1),
        }
    }
}

/// How a registry of many nodes keeps its copies.
#[derive(Debug)]
pub(super) struct Copies {
    pub replicator: Replicator,
    pub acknowledge: Acknowledge,
}

impl Copies {
    /// Has the bytes of an upload that begins passed on to other nodes while they come.
    pub(super) fn tap(&self, upload: &mut blob::Upload, journal: &Handle) {
        if self.acknowledge == Acknowledge::One {
            // The client waits for no copy.
            return;
        }
        let (acknowledge, replicator) = (self.acknowledge, self.replicator.clone());
        let (id, algorithm) = (upload.id(), upload.algorithm());
        let journal = journal.clone();
        upload.tap(Tap::new(move || {
            let copies = acknowledge.copies(voters(&journal));
            replicator.tee(&id, algorithm, copies)
        }));
    }

    /// Returns when enough other nodes hold what was sealed here.
    ///
    /// - Errors: `Unavailable`; the client tries again, and finds what is done done.
    pub(super) async fn hold(&self, sealed: &Sealed, journal: &Handle) -> Result<(), Error> {
        let copies = self.acknowledge.copies(voters(journal));
        let held = self.replicator.hold_elsewhere(sealed, copies).await;
        held.map(drop).map_err(|error| {
            tracing::warn!(digest = %sealed.digest, %error, "a blob is not acknowledged");
            Error::Unavailable
        })
    }

    /// Opens a part of a blob, wherever it is.
    pub(super) async fn content(
        &self,
        blob: &Blob,
        start: u64,
        end: u64,
    ) -> Result<Content, Error> {
        let file = BlobFile {
            digest: blob.digest,
            generation: blob.generation,
        };
        let opened = self.replicator.content(&file, blob.size_bytes, start..end);
        opened.await.map(Content::replicated).map_err(|error| {
            tracing::warn!(digest = %blob.digest, %error, "a blob cannot be opened");
            match error {
                ContentError::Gone => Error::BlobUnknown {
                    digest: blob.digest,
                },
                ContentError::Busy => Error::Busy,
                ContentError::Stalled | ContentError::Stopping => Error::Unavailable,
                error @ (ContentError::Read(_)
                | ContentError::Corrupt
                | ContentError::Unwritable) => Error::Internal(Box::new(error)),
            }
        })
    }
}

/// How many nodes vote.
fn voters(journal: &Handle) -> usize {
    let members = journal.membership();
    let voters = members.nodes.iter().filter(|member| member.is_voter);
    voters.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_of_copies_is_more_than_half_of_the_voters() {
        let copies = |level: Acknowledge| [1, 2, 3, 4, 5].map(|voters| level.copies(voters));
        assert_eq!(copies(Acknowledge::One), [0, 0, 0, 0, 0]);
        assert_eq!(copies(Acknowledge::Quorum), [0, 1, 1, 2, 2]);
        assert_eq!(copies(Acknowledge::All), [0, 1, 2, 3, 4]);
        assert_eq!(Acknowledge::All.copies(0), 0);
    }
}
