//! The journal as the raft core sees it: operations in, completions out.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;

use crate::base::Clock;

use super::error::JournalError;
use super::group::{COMMITTED_KEY, Operation, PURGED_KEY, VOTE_KEY};
use super::log::{LogDatabase, unseal};

/// Called once when an operation is durable or has failed, on the journal thread.
pub type Done = Box<dyn FnOnce(Result<(), JournalError>) + Send>;

/// One operation and who waits for it.
pub(super) struct Message {
    pub operation: Operation,
    pub submitted_at: Instant,
    pub done: Done,
}

/// Handle of the open log. Operations happen in the order they are submitted.
///
/// Owned by the raft core, may be cloned. With [`Journal::close`], or when every
/// clone is dropped, the thread syncs what is left and ends.
#[derive(Clone)]
pub struct Journal {
    sender: flume::Sender<Message>,
    log: LogDatabase,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) const fn new(sender: flume::Sender<Message>, log: LogDatabase) -> Self {
        Self { sender, log }
    }

    /// Appends records from index `first` on. Durable when `done` is called.
    ///
    /// - Shape: `first` continues the log; a log that never had a record starts anywhere.
    /// - Errors: `Closed`, and `done` is dropped uncalled.
    /// - Cancel: while it waits for room nothing has happened.
    pub async fn append(
        &self,
        first: u64,
        payloads: Vec<Bytes>,
        done: Done,
    ) -> Result<(), JournalError> {
        self.submit(Operation::Append { first, payloads }, done)
            .await
    }

    /// Replaces the vote. Durable when `done` is called.
    pub async fn save_vote(&self, vote: Bytes, done: Done) -> Result<(), JournalError> {
        self.submit(Operation::SaveVote { vote }, done).await
    }

    /// Replaces the identity of the last committed record. A hint: it may be
    /// older after a power cut.
    pub async fn save_committed(&self, committed: Bytes, done: Done) -> Result<(), JournalError> {
        self.submit(Operation::SaveCommitted { committed }, done)
            .await
    }

    /// Removes the records from index `next` on.
    pub async fn truncate(&self, next: u64, done: Done) -> Result<(), JournalError> {
        self.submit(Operation::Truncate { next }, done).await
    }

    /// Forgets the records before index `first`; `id` is kept as the name of
    /// the last of them.
    pub async fn purge(&self, first: u64, id: Bytes, done: Done) -> Result<(), JournalError> {
        self.submit(Operation::Purge { first, id }, done).await
    }

    /// Ends the journal thread after everything submitted before. All of it is
    /// on disk when `done` is called; later operations are refused.
    pub async fn close(&self, done: Done) -> Result<(), JournalError> {
        self.submit(Operation::Close, done).await
    }

    async fn submit(&self, operation: Operation, done: Done) -> Result<(), JournalError> {
        let message = Message {
            operation,
            submitted_at: Clock::system().now(),
            done,
        };
        let sent = self.sender.send_async(message).await;
        sent.map_err(|_| JournalError::Closed)
    }

    /// Payloads of the committed records from `first` to before `end`, in
    /// order, at least one if there is one, else as many as fit `budget_bytes`.
    ///
    /// Blocks for the disk when they are not in memory.
    ///
    /// - Errors: `Missing` for a hole inside what is returned.
    pub fn read(
        &self,
        first: u64,
        end: u64,
        budget_bytes: usize,
    ) -> Result<Vec<Bytes>, JournalError> {
        let mut payloads = Vec::new();
        let (mut expected, mut read_bytes) = (first, 0);
        self.log.scan(first, end, |index, sealed| {
            if index != expected {
                return Err(JournalError::Missing { index: expected });
            }
            let payload = unseal(sealed)?.payload;
            read_bytes += payload.len();
            if read_bytes > budget_bytes && !payloads.is_empty() {
                return Ok(false);
            }
            payloads.push(payload);
            expected += 1;
            Ok(true)
        })?;
        Ok(payloads)
    }

    /// The vote as last saved.
    pub fn vote(&self) -> Result<Option<Bytes>, JournalError> {
        self.saved(VOTE_KEY)
    }

    /// The identity of the last purged record.
    pub fn purged(&self) -> Result<Option<Bytes>, JournalError> {
        self.saved(PURGED_KEY)
    }

    /// The identity of the last record known to be committed.
    pub fn committed(&self) -> Result<Option<Bytes>, JournalError> {
        self.saved(COMMITTED_KEY)
    }

    fn saved(&self, key: &[u8]) -> Result<Option<Bytes>, JournalError> {
        self.log
            .value(key)
            .map_err(|source| JournalError::Database {
                operation: "read the log",
                source,
            })
    }
}
