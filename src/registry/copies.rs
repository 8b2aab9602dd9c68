//! Copies of a blob on other nodes: made before a push is acknowledged, and used
//! where this node lacks the blob.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::content::Content;
use super::error::Error;
use super::pull::Blob;
use crate::blob::{self, Sealed, Tap};
use crate::oci::{Digest, Repository};
use crate::raft::{Handle, Members};
use crate::replication::{BlobFile, ContentError, HoldError, Replicator};

/// Blobs of one push whose copies are waited for at a time: as many as a client pushes
/// at a time.
const SPREADS_MAX: usize = 8;

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
    /// Copies on other voters, where so many nodes vote and this one may be among them.
    fn copies(self, voters: usize, is_voter: bool) -> usize {
        let copies = match self {
            Self::One => return 0,
            Self::Quorum => voters / 2 + 1,
            Self::All => voters,
        };
        copies - usize::from(is_voter)
    }

    /// Copies on voters, and whether this node, `own`, is one of them; `None` when it is
    /// no member as far as it knows.
    fn in_all(self, members: &Members, own: u64) -> Option<(usize, bool)> {
        let own = members.nodes.iter().find(|member| member.node == own)?;
        let voters = members.nodes.iter().filter(|member| member.is_voter);
        Some((self.copies(voters.count(), false), own.is_voter))
    }

    /// Copies on other voters, where this node is `own`; `None` when it is no member
    /// as far as it knows.
    fn needed(self, members: &Members, own: u64) -> Option<usize> {
        if self == Self::One {
            return Some(0);
        }
        let own = members.nodes.iter().find(|member| member.node == own)?;
        let voters = members.nodes.iter().filter(|member| member.is_voter);
        Some(self.copies(voters.count(), own.is_voter))
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
            let copies = level.needed(&journal.membership(), replicator.node());
            replicator.tee(&id, algorithm, copies.unwrap_or_default())
        }));
    }

    /// Returns when enough other voters hold what was sealed here; says how many do.
    ///
    /// - Errors: `Unavailable`; the client tries again, and finds what is done done.
    pub(super) async fn hold(
        &self,
        repository: &Repository,
        sealed: &Sealed,
        journal: &Handle,
    ) -> Result<usize, Error> {
        if sealed.inline.is_some() {
            // Its content is in the entry.
            return Ok(0);
        }
        let level = self.acknowledge.level_of(repository);
        // A node that does not know of itself yet does not know who votes.
        let copies = level.needed(&journal.membership(), self.replicator.node());
        let copies = copies.ok_or(Error::Unavailable)?;
        let held = self.replicator.hold_elsewhere(sealed, copies).await;
        held.map(|_| copies).map_err(|error| {
            tracing::warn!(digest = %sealed.digest, %error, "a blob is not acknowledged");
            Error::Unavailable
        })
    }

    /// As [`Copies::hold`], after the entry was applied here: by then this node knows
    /// the voters of that moment, of whom there may be more than of those that were
    /// asked for `copies`.
    ///
    /// - Errors: `Undecided`: the blob is linked, and not where it should be.
    pub(super) async fn hold_rest(
        &self,
        repository: &Repository,
        sealed: &Sealed,
        journal: &Handle,
        copies: usize,
    ) -> Result<(), Error> {
        let level = self.acknowledge.level_of(repository);
        let needed = level.needed(&journal.membership(), self.replicator.node());
        let needed = needed.unwrap_or_default();
        if needed <= copies {
            return Ok(());
        }
        let held = self.replicator.hold_elsewhere(sealed, needed).await;
        held.map(drop).map_err(|error| {
            tracing::warn!(digest = %sealed.digest, %error, "a blob is linked and not acknowledged");
            Error::Undecided
        })
    }

    /// Returns when enough voters hold what the state has of `digests`: blobs that came
    /// before, perhaps to a repository that waits for fewer copies, or when others voted.
    ///
    /// - Errors: `Unavailable`, as [`Copies::hold`].
    pub(super) async fn spread(
        &self,
        repository: &Repository,
        digests: &[Digest],
        journal: &Handle,
    ) -> Result<(), Error> {
        let level = self.acknowledge.level_of(repository);
        if level == Acknowledge::One {
            return Ok(());
        }
        let needed = level.in_all(&journal.membership(), self.replicator.node());
        let (copies, votes) = needed.ok_or(Error::Unavailable)?;
        let held = self.have_held(digests, copies, votes).await;
        held.map_err(|error| {
            tracing::warn!(%repository, %error, "a blob is not linked");
            Error::Unavailable
        })
    }

    /// As [`Copies::spread`], after the entry was applied here: what this node had not
    /// seen is seen by then, a blob that was pushed anew among it, and so are voters that
    /// have come. Where nothing has changed it costs the same reads again.
    ///
    /// - Errors: `Undecided`: the blobs are linked, and not where they should be.
    pub(super) async fn spread_rest(
        &self,
        repository: &Repository,
        digests: &[Digest],
        journal: &Handle,
    ) -> Result<(), Error> {
        let level = self.acknowledge.level_of(repository);
        if level == Acknowledge::One {
            return Ok(());
        }
        let needed = level.in_all(&journal.membership(), self.replicator.node());
        let (copies, votes) = needed.unwrap_or_default();
        let held = self.have_held(digests, copies, votes).await;
        held.map_err(|error| {
            tracing::warn!(%repository, %error, "blobs are linked and not acknowledged");
            Error::Undecided
        })
    }

    /// Has `copies` voters hold each of `digests` that the state has.
    async fn have_held(
        &self,
        digests: &[Digest],
        copies: usize,
        votes: bool,
    ) -> Result<(), HoldError> {
        let holding = digests
            .iter()
            .map(|digest| self.replicator.hold_known(digest, copies, votes));
        let mut holding = stream::iter(holding).buffer_unordered(SPREADS_MAX);
        while holding.try_next().await?.is_some() {}
        Ok(())
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
                ContentError::Busy => Error::Busy,
                // Whether it is gone or has come again is for the state to say, when
                // the client asks once more.
                ContentError::Gone | ContentError::Stalled | ContentError::Stopping => {
                    Error::Unavailable
                }
                error @ (ContentError::Read(_)
                | ContentError::Corrupt
                | ContentError::Unwritable) => Error::Internal(Box::new(error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Member;

    #[test]
    fn a_quorum_of_copies_is_more_than_half_of_the_voters() {
        let copies = |level: Acknowledge| [1, 2, 3, 4, 5].map(|voters| level.copies(voters, true));
        assert_eq!(copies(Acknowledge::One), [0, 0, 0, 0, 0]);
        assert_eq!(copies(Acknowledge::Quorum), [0, 1, 1, 2, 2]);
        assert_eq!(copies(Acknowledge::All), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_copy_of_a_node_that_does_not_vote_counts_for_nothing() {
        let member = |node: u64| Member {
            node,
            address: "".into(),
            is_voter: node != 4,
            is_leader: node == 1,
            matched_index: None,
        };
        let members = Members {
            nodes: (1..=4).map(member).collect(),
            ..Members::default()
        };
        let needed = |level: Acknowledge, own| level.needed(&members, own);
        assert_eq!(needed(Acknowledge::Quorum, 1), Some(1));
        assert_eq!(needed(Acknowledge::Quorum, 4), Some(2));
        assert_eq!(needed(Acknowledge::All, 1), Some(2));
        assert_eq!(needed(Acknowledge::All, 4), Some(3));
        assert_eq!(needed(Acknowledge::One, 9), Some(0));
        let in_all = |level: Acknowledge, own| level.in_all(&members, own);
        assert_eq!(in_all(Acknowledge::Quorum, 1), Some((2, true)));
        assert_eq!(in_all(Acknowledge::All, 4), Some((3, false)));
        assert_eq!(in_all(Acknowledge::Quorum, 9), None);
        // Nothing is known before the first entries have come.
        assert_eq!(needed(Acknowledge::Quorum, 9), None);
        assert_eq!(Acknowledge::All.needed(&Members::default(), 1), None);
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
