//! Deletes: of a tag, of a manifest with its tags, of a blob's link. Once one is
//! answered, no node that reaches a quorum finds any more what is gone: by tag because
//! that is asked of a quorum, by digest because the answer waits for all nodes.

use super::error::Error;
use super::journal::{Registry, refused};
use crate::metadata::{Command, Outcome};
use crate::oci::{Digest, Reference, Repository};
use crate::raft::Committed;

impl Registry {
    /// Removes a tag, or a manifest with every tag on it. Says which entry did it.
    ///
    /// - Errors: `ManifestUnknown` when there is nothing to remove, `DeleteDisabled`.
    /// - Source: distribution-spec v1.1, end-9.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<u64, Error> {
        self.check_delete_enabled()?;
        let repository = repository.clone();
        let command = match reference {
            Reference::Tag(tag) => Command::DeleteTag {
                repository,
                tag: tag.clone(),
            },
            Reference::Digest(digest) => Command::DeleteManifest {
                repository,
                digest: *digest,
            },
        };
        let committed = self.propose(command).await?;
        if let Reference::Digest(_) = reference {
            self.await_end(&committed).await;
        }
        match committed.outcome {
            Outcome::Deleted => Ok(committed.index),
            Outcome::NotFound(_) => Err(Error::ManifestUnknown),
            outcome => Err(refused(&outcome)),
        }
    }

    /// Removes a blob from a repository. Its bytes stay until nothing refers to them. Says
    /// which entry did it.
    ///
    /// - Errors: `BlobUnknown`, `DeleteDisabled`.
    /// - Source: distribution-spec v1.1, end-10.
    pub async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<u64, Error> {
        self.check_delete_enabled()?;
        let command = Command::UnlinkBlob {
            repository: repository.clone(),
            digest: *digest,
        };
        let committed = self.propose(command).await?;
        self.await_end(&committed).await;
        match committed.outcome {
            Outcome::Deleted => Ok(committed.index),
            Outcome::NotFound(_) => Err(Error::BlobUnknown { digest: *digest }),
            outcome => Err(refused(&outcome)),
        }
    }

    /// Waits until what is gone is gone on every node: also when somebody else deleted
    /// it, for that may have been this client, whose first try got no answer.
    async fn await_end(&self, committed: &Committed) {
        if let Outcome::Deleted | Outcome::NotFound(_) = committed.outcome {
            self.gone_everywhere(committed.index).await;
        }
    }

    const fn check_delete_enabled(&self) -> Result<(), Error> {
        if self.is_delete_enabled {
            Ok(())
        } else {
            Err(Error::DeleteDisabled)
        }
    }
}
