//! Copies of a blob on other nodes: made before a push is acknowledged, and used
//! where this node lacks the blob.

use super::content::Content;
use super::error::Error;
use super::pull::Blob;
use crate::blob::{self, Sealed, Tap};
use crate::oci::Repository;
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

/// Which level holds for which repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgeRules {
    /// Where no prefix says otherwise.
    pub level: Acknowledge,
    /// Levels of repositories by the first components of their names.
    pub prefixes: Vec<(Repository, Acknowledge)>,
}

impl AcknowledgeRules {
    /// The level of a repository: that of the longest prefix that it is or lies under.
    fn level_of(&self, repository: &Repository) -> Acknowledge {
        let is_under = |prefix: &Repository| {
            let rest = repository.as_str().strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let matching = self.prefixes.iter().filter(|(prefix, _)| is_under(prefix));
        let longest = matching.max_by_key(|(prefix, _)| prefix.as_str().len());
        longest.map_or(self.level, |(_, level)| *level)
    }
}

/// How a registry of many nodes keeps its copies.
#[derive(Debug)]
pub(super) struct Copies {
    pub replicator: Replicator,
    pub acknowledge: AcknowledgeRules,
}

impl Copies {
    /// Has the bytes of an upload that begins passed on to other nodes while they come.
    pub(super) fn tap(&self, repository: &Repository, upload: &mut blob::Upload, journal: &Handle) {
        let level = self.acknowledge.level_of(repository);
        if level == Acknowledge::One {
            // The client waits for no copy.
            return;
        }
        let replicator = self.replicator.clone();
        let (id, algorithm) = (upload.id(), upload.algorithm());
        let journal = journal.clone();
        upload.tap(Tap::new(move || {
            let copies = level.copies(voters(&journal));
            replicator.tee(&id, algorithm, copies)
        }));
    }

    /// Returns when enough other nodes hold what was sealed here.
    ///
    /// - Errors: `Unavailable`; the client tries again, and finds what is done done.
    pub(super) async fn hold(
        &self,
        repository: &Repository,
        sealed: &Sealed,
        journal: &Handle,
    ) -> Result<(), Error> {
        let level = self.acknowledge.level_of(repository);
        let copies = level.copies(voters(journal));
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

    #[test]
    fn the_longest_prefix_of_whole_components_says_how_many_copies() {
        let repository = |name: &str| Repository::parse(name).unwrap();
        let rules = AcknowledgeRules {
            level: Acknowledge::Quorum,
            prefixes: vec![
                (repository("ci"), Acknowledge::One),
                (repository("ci/release"), Acknowledge::All),
            ],
        };
        let level = |name: &str| rules.level_of(&repository(name));
        assert_eq!(level("app"), Acknowledge::Quorum);
        assert_eq!(level("cia/app"), Acknowledge::Quorum);
        assert_eq!(level("ci"), Acknowledge::One);
        assert_eq!(level("ci/cache/app"), Acknowledge::One);
        assert_eq!(level("ci/release-2/app"), Acknowledge::One);
        assert_eq!(level("ci/release/app"), Acknowledge::All);
    }
}
