//! The registry of one shard, and how its use cases speak to the journal.

use std::time::Instant;

use super::copies::{AcknowledgeRules, Copies};
use super::error::Error;
use super::freshness::{Freshness, StaleReads};
use super::relay::Relay;
use super::space::DiskSpace;
use crate::base::Mutant;
use crate::blob::Store;
use crate::metadata::{Command, Outcome, Refusal, StateError};
use crate::raft::{Committed, Handle, ProposeError, StateView};
use crate::replication::Replicator;

/// Runs the use cases for the connections of one shard.
///
/// One per shard, made at start; holds no state of its own: content lives in the
/// blob store, everything else in the journal.
#[derive(Debug)]
pub struct Registry {
    pub(super) store: Store,
    pub(super) journal: Handle,
    pub(super) space: DiskSpace,
    pub(super) is_delete_enabled: bool,
    /// Where other nodes hold copies; `None` for a node that runs alone.
    pub(super) copies: Option<Copies>,
    /// The way to sessions of other nodes; `None` for a node that runs alone.
    pub(super) relay: Option<Relay>,
    /// Answers without a quorum; `None` where they are refused.
    stale_reads: Option<StaleReads>,
}

impl Registry {
    /// Joins this shard's store to the journal.
    #[must_use]
    pub const fn new(
        store: Store,
        journal: Handle,
        space: DiskSpace,
        is_delete_enabled: bool,
    ) -> Self {
        Self {
            store,
            journal,
            space,
            is_delete_enabled,
            copies: None,
            relay: None,
            stale_reads: None,
        }
    }

    /// The same on one of many nodes.
    #[must_use]
    pub fn replicated(self, replicator: Replicator, acknowledge: AcknowledgeRules) -> Self {
        let copies = Copies {
            replicator,
            acknowledge,
        };
        Self {
            copies: Some(copies),
            ..self
        }
    }

    /// The same, answering by tag what it knew last when no quorum can be asked.
    #[must_use]
    pub fn with_stale_reads(self) -> Self {
        Self {
            stale_reads: Some(StaleReads::default()),
            ..self
        }
    }

    /// The same with a way to the upload sessions of other nodes.
    #[must_use]
    pub fn relaying(self, relay: Relay) -> Self {
        Self {
            relay: Some(relay),
            ..self
        }
    }

    /// Asks the local state. What is named by digest goes through [`Registry::look`];
    /// what is named by tag counts only after [`Registry::settle`].
    pub(super) fn view(&self) -> StateView {
        self.journal.view()
    }

    /// Waits until the local state holds everything acknowledged before this call.
    ///
    /// - Errors: `Unavailable` when no quorum answers.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.settle_by(self.journal.read_deadline()).await
    }

    async fn settle_by(&self, deadline: Instant) -> Result<(), Error> {
        self.journal.read_index_by(deadline).await.map_err(|error| {
            tracing::warn!(%error, "a read could not be confirmed");
            Error::Unavailable
        })
    }

    /// As [`Registry::settle`], for what is named by tag and for lists: where the
    /// operator allows it, the local state is good enough without a quorum.
    ///
    /// - Errors: `Unavailable` when no quorum answers and that is not allowed.
    pub(super) async fn freshen(&self) -> Result<Freshness, Error> {
        match &self.stale_reads {
            None => self.settle().await.map(|()| Freshness::Newest),
            Some(stale_reads) => Ok(stale_reads.settle(&self.journal).await),
        }
    }

    /// Looks locally, and looks again after a read index before it believes a miss:
    /// read-your-writes on every node, and no more than a look at the clock on the hits
    /// of a node in use. A hit counts on a state that
    /// was shown to be new just now; one that was not is shown to be first, if a quorum
    /// can be asked. So nothing is found any more whose delete was acknowledged. Both waits
    /// together end with the time that one read has.
    pub(super) async fn look<T>(
        &self,
        query: impl Fn(&StateView) -> Result<Option<T>, StateError>,
    ) -> Result<Option<T>, Error> {
        let deadline = self.journal.read_deadline();
        let is_newest = !self.is_fresh() && self.refresh(deadline).await?;
        let found = query(&self.view()).map_err(broken)?;
        if found.is_some() || is_newest {
            return Ok(found);
        }
        if !Mutant::DenyOnLocalMiss.is_on() {
            self.settle_by(deadline).await?;
        }
        query(&self.view()).map_err(broken)
    }

    /// Waits until a hit counts; says whether a miss does.
    ///
    /// - Errors: `Unavailable` when this node lags too far behind the others.
    async fn refresh(&self, deadline: Instant) -> Result<bool, Error> {
        self.journal.refresh(deadline).await.map_err(|error| {
            tracing::warn!(%error, "what is here is too old to be served by digest");
            Error::Unavailable
        })
    }

    /// Whether a hit counts at once. A node that runs alone has nobody to ask.
    fn is_fresh(&self) -> bool {
        self.copies.is_none() || Mutant::TrustOldState.is_on() || self.journal.is_fresh()
    }

    /// Returns when no node that reaches a quorum finds by digest what the entry at
    /// `index` deleted.
    pub(super) async fn gone_everywhere(&self, index: u64) {
        if self.copies.is_some() && !Mutant::DeleteWithoutBarrier.is_on() {
            self.journal.seen_everywhere(index).await;
        }
    }

    /// Makes one change durable and waits until it is applied here.
    pub(super) async fn propose(&self, command: Command) -> Result<Committed, Error> {
        self.journal
            .commit(command)
            .await
            .map_err(|error| match error {
                ProposeError::Busy => Error::Busy,
                ProposeError::NoLeader => Error::NoLeader,
                ProposeError::Unavailable => Error::Unavailable,
                ProposeError::TimedOut => Error::Undecided,
                ProposeError::TooLarge { .. } => Error::Internal(Box::new(error)),
            })
    }
}

/// The state could not be read: logged here, where it stops travelling.
pub(super) fn broken(error: StateError) -> Error {
    tracing::error!(%error, "the applied state cannot be read");
    Error::Internal(Box::new(error))
}

/// What a rule of the repository, or an outcome that its command cannot have,
/// means to the client.
pub(super) fn refused(outcome: &Outcome) -> Error {
    match outcome {
        Outcome::Refused(Refusal::DeletesRefused) => Error::DeleteDisabled,
        Outcome::Refused(Refusal::TagImmutable(tag)) => Error::TagFixed { tag: tag.clone() },
        Outcome::Refused(Refusal::TagMoved(tag)) => Error::TagTaken { tag: tag.clone() },
        outcome => {
            tracing::error!(
                ?outcome,
                "the journal answered something else than was asked"
            );
            Error::Unavailable
        }
    }
}
