//! The log as openraft sees it: an in-memory end over the journal.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, RaftLogReader};

use crate::base::CodecError;
use crate::journal::{Journal, JournalError, Opened};

use super::encoding;
use super::recent::{Milestones, Recent};
use super::stall::Backlog;
use super::types::{Entry, LogId, Types, Vote};

/// Entry bytes read at once, from memory or from disk.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Log storage and log reader in one; clones share everything. Lives on the
/// raft core.
#[derive(Clone, Debug)]
pub(super) struct LogStore {
    journal: Journal,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    recent: RefCell<Recent>,
    milestones: RefCell<Milestones>,
    /// Index of the first entry held.
    first: Cell<u64>,
    last: Cell<Option<LogId>>,
    purged: Cell<Option<LogId>>,
    vote: Cell<Option<Vote>>,
    committed: Cell<Option<LogId>>,
    /// Index after the last flushed entry; the journal thread moves it.
    flushed_next: Arc<AtomicU64>,
    /// What waits for the journal thread.
    backlog: Arc<Backlog>,
}

impl LogStore {
    /// Takes over what the check at open found.
    pub(super) fn new(opened: &Opened) -> Result<Self, JournalError> {
        let journal = opened.journal.clone();
        let purged = decoded(journal.purged()?, encoding::decode_id)?;
        let last = decoded(opened.recovered.last.clone(), |record| {
            encoding::decode_entry(&Bytes::copy_from_slice(record)).map(|entry| entry.log_id)
        })?;
        let mut milestones = Milestones::default();
        if opened.recovered.next > opened.recovered.first {
            let log_bytes = crate::base::units::index_of(opened.recovered.log_bytes);
            milestones.push(opened.recovered.first, log_bytes);
        }
        let shared = Shared {
            recent: RefCell::default(),
            milestones: RefCell::new(milestones),
            first: Cell::new(opened.recovered.first),
            last: Cell::new(last.or(purged)),
            purged: Cell::new(purged),
            vote: Cell::new(decoded(journal.vote()?, encoding::decode_vote)?),
            committed: Cell::new(decoded(journal.committed()?, encoding::decode_id)?),
            flushed_next: Arc::new(AtomicU64::new(opened.recovered.next)),
            backlog: Arc::default(),
        };
        Ok(Self {
            journal,
            shared: Rc::new(shared),
        })
    }

    /// Whether nobody else has a clone.
    #[cfg(test)]
    pub(super) fn is_last(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }

    /// What waits for the journal thread.
    pub(super) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.shared.backlog)
    }

    /// Bytes appended so far; differences say how much the log grew.
    pub(super) fn written_bytes(&self) -> u64 {
        self.shared.milestones.borrow().written_bytes()
    }

    /// Bytes the log holds, to a mebibyte.
    pub(super) fn held_bytes(&self) -> u64 {
        self.shared.milestones.borrow().held_bytes()
    }

    /// Index before which entries must go so that about `kept_bytes` stay.
    pub(super) fn cut(&self, kept_bytes: u64) -> Option<u64> {
        self.shared.milestones.borrow().cut(kept_bytes)
    }

    /// Saves the committed identity as the last thing before a clean end.
    pub(super) async fn save_committed_now(&self) -> Result<(), JournalError> {
        let Some(committed) = self.shared.committed.get() else {
            return Ok(());
        };
        let record = encoding::encode_id(&committed);
        self.journal.save_committed(record, Box::new(drop)).await
    }

    /// Entries from `first` to before `end`, bounded by [`READ_BYTES_MAX`].
    fn read(&self, first: u64, end: u64) -> io::Result<Vec<Entry>> {
        let held = self.shared.recent.borrow().first();
        let in_memory = held.unwrap_or(u64::MAX);
        if first >= in_memory {
            return Ok(self.shared.recent.borrow().read(first, end, READ_BYTES_MAX));
        }
        let payloads = self.journal.read(first, end.min(in_memory), READ_BYTES_MAX);
        let decode = |payload: &Bytes| encoding::decode_entry(payload).map_err(io::Error::other);
        payloads
            .map_err(io::Error::other)?
            .iter()
            .map(decode)
            .collect()
    }

    /// The part of `range` that the log holds.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let held_next = self.shared.last.get().map_or(0, |id| id.index + 1);
        (first.max(self.shared.first.get()), end.min(held_next))
    }

    /// Runs an operation of the journal and waits until it is done.
    async fn finish<F>(&self, start: impl FnOnce(crate::journal::Done) -> F) -> io::Result<()>
    where
        F: Future<Output = Result<(), JournalError>>,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let done = Box::new(move |outcome| drop(sender.send(outcome)));
        start(done).await.map_err(io::Error::other)?;
        let outcome = receiver.await.map_err(io::Error::other)?;
        outcome.map_err(io::Error::other)
    }
}

/// A hole where the log holds an entry according to its own bounds.
fn missing(index: u64) -> io::Error {
    io::Error::other(JournalError::Missing { index })
}

fn decoded<T>(
    record: Option<Bytes>,
    decode: impl FnOnce(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, JournalError> {
    let value = record.map(|record| decode(&record)).transpose();
    value.map_err(|source| JournalError::Damaged {
        what: "what raft saved",
        source,
    })
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (mut first, end) = self.clamp(&range);
        let mut entries = Vec::new();
        while first < end {
            let read = self.read(first, end)?;
            let last = read.last().ok_or_else(|| missing(first))?;
            first = last.log_id.index + 1;
            entries.extend(read);
        }
        Ok(entries)
    }

    /// What one message to a follower carries: bounded by bytes.
    async fn limited_get_log_entries(&mut self, first: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (first, end) = self.clamp(&(first..end));
        if first < end {
            self.read(first, end)
        } else {
            Ok(Vec::new())
        }
    }

    /// What the state machine applies: read as it goes, so that a long replay
    /// holds a few mebibytes and not the whole log.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug,
    {
        let (first, end) = self.clamp(&range);
        let start = (self.clone(), first, Vec::new().into_iter());
        let entries = stream::unfold(Some(start), move |state| async move {
            let (store, first, mut read) = state?;
            if let Some(entry) = read.next() {
                let entry: Entry = entry;
                let next = entry.log_id.index + 1;
                return Some((Ok(entry), Some((store, next, read))));
            }
            if first >= end {
                return None;
            }
            match store.read(first, end) {
                Err(error) => Some((Err(error), None)),
                Ok(entries) => {
                    let mut read = entries.into_iter();
                    let entry = read.next().ok_or_else(|| missing(first));
                    Some((entry, Some((store, first + 1, read))))
                }
            }
        });
        Box::pin(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.vote.get())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        Ok(LogState {
            last_purged_log_id: self.shared.purged.get(),
            last_log_id: self.shared.last.get(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = encoding::encode_vote(vote);
        self.finish(|done| self.journal.save_vote(record, done))
            .await?;
        self.shared.vote.set(Some(*vote));
        Ok(())
    }

    /// Kept in memory and written at a clean end: after a crash raft finds out
    /// again what is committed, and a write per commit would wake the journal
    /// thread just when the next append comes.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.committed.set(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.committed.get())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry>,
    {
        let mut payloads = Vec::new();
        let mut first = None;
        {
            let mut recent = self.shared.recent.borrow_mut();
            let mut milestones = self.shared.milestones.borrow_mut();
            recent.evict(self.shared.flushed_next.load(Ordering::Acquire));
            for entry in entries {
                let payload = encoding::encode_entry(&entry);
                let index = entry.log_id.index;
                first.get_or_insert(index);
                if self.shared.last.get().is_none() {
                    self.shared.first.set(index);
                }
                self.shared.last.set(Some(entry.log_id));
                milestones.push(index, payload.len());
                recent.push(entry, payload.len());
                payloads.push(payload);
            }
        }
        let Some(first) = first else {
            flushed.io_completed(Ok(()));
            return Ok(());
        };
        let next = first + crate::base::units::to_u64(payloads.len());
        let flushed_next = Arc::clone(&self.shared.flushed_next);
        let backlog = self.backlog();
        backlog.submit();
        let done = Box::new(move |outcome: Result<(), JournalError>| {
            if outcome.is_ok() {
                flushed_next.store(next, Ordering::Release);
                backlog.synced();
            }
            flushed.io_completed(outcome.map_err(io::Error::other));
        });
        let appended = self.journal.append(first, payloads, done).await;
        appended.map_err(io::Error::other)
    }

    /// Waits: the journal must not report an older append after a newer one
    /// at the same index was made.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let next = last.map_or(0, |id| id.index + 1);
        if self.shared.last.get().is_none_or(|id| id.index < next) {
            return Ok(());
        }
        self.shared.recent.borrow_mut().truncate(next);
        self.shared.milestones.borrow_mut().truncate(next);
        let purged = self.shared.purged.get();
        self.shared.last.set(last.or(purged));
        self.finish(|done| self.journal.truncate(next, done))
            .await?;
        self.shared.flushed_next.fetch_min(next, Ordering::AcqRel);
        Ok(())
    }

    async fn purge(&mut self, last: LogId) -> io::Result<()> {
        let first = last.index + 1;
        self.shared.recent.borrow_mut().purge(first);
        self.shared.milestones.borrow_mut().purge(first);
        self.shared.purged.set(Some(last));
        self.shared.first.set(first.max(self.shared.first.get()));
        if self
            .shared
            .last
            .get()
            .is_none_or(|id| id.index < last.index)
        {
            self.shared.last.set(Some(last));
        }
        let record = encoding::encode_id(&last);
        let purged = self.journal.purge(first, record, Box::new(drop)).await;
        purged.map_err(io::Error::other)
    }
}
