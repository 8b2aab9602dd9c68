//! The journal thread: takes what waits, writes it as one batch, syncs once,
//! tells everyone. The only writer of the log database.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::base::Clock;
use crate::base::units::{index_of, to_u64};
use crate::telemetry::Metrics;

use super::ahead::{Ahead, CHANGE_OVERHEAD_BYTES};
use super::error::JournalError;
use super::failure::Failure;
use super::group::{Group, Operation};
use super::handle::{Done, Message};
use super::log::LogDatabase;
use super::mark::{Mark, MarkFile};
use super::options::{
    GROUP_BYTES_MAX, GROUP_OPERATIONS_MAX, MARK_SYNC_IDLE, MARK_SYNC_PERIOD, PURGE_RECORDS_MAX,
};
use super::record::{Link, NO_LINK};
use super::tail::Tail;

/// Why the journal stops, and who has not been told.
struct Stop {
    failure: Failure,
    waiting: Vec<Done>,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let waiting = Vec::new();
        Self { failure, waiting }
    }
}

/// What the thread owns.
pub(super) struct JournalThread {
    pub receiver: flume::Receiver<Message>,
    pub log: LogDatabase,
    pub mark: MarkFile,
    pub tail: Tail,
    pub ahead: Ahead,
    pub on_failure: fn(&Failure),
    pub metrics: Arc<Metrics>,
}

impl JournalThread {
    /// Runs until every handle is gone or a write fails.
    pub(super) fn run(mut self) {
        let on_failure = self.on_failure;
        let receiver = self.receiver.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let stop = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(stop)) => stop,
            Err(_) => Stop::from(Failure {
                operation: "the journal thread panicked",
                kind: None,
            }),
        };
        on_failure(&stop.failure);
        // Reached only when the process is allowed to outlive its journal (tests).
        for done in stop.waiting {
            done(Err(JournalError::Poisoned));
        }
        while let Ok(message) = receiver.recv() {
            (message.done)(Err(JournalError::Poisoned));
        }
    }

    fn serve(&mut self) -> Result<(), Stop> {
        let clock = Clock::system();
        let mut mark_synced_at = clock.now();
        let mut carried = None;
        self.sweep()?;
        while let Some(first) = carried.take().or_else(|| self.wait()) {
            let Some(first) = first else {
                mark_synced_at = clock.now();
                self.sync_mark()?;
                continue;
            };
            if matches!(first.operation, Operation::Close) {
                self.close()?;
                (first.done)(Ok(()));
                return Ok(());
            }
            let batch = if first.operation.is_alone() {
                vec![first]
            } else {
                let (batch, next) = self.gather(first);
                carried = next.map(Some);
                batch
            };
            self.carry_out(batch)?;
            if clock.now() - mark_synced_at >= MARK_SYNC_PERIOD {
                mark_synced_at = clock.now();
                self.sync_mark()?;
            }
        }
        Ok(self.close()?)
    }

    /// The next message; `Some(None)` when it is time to sync the mark instead,
    /// `None` when no handle is left.
    #[expect(clippy::option_option, reason = "three outcomes, one caller")]
    fn wait(&self) -> Option<Option<Message>> {
        if !self.mark.is_dirty() {
            return self.receiver.recv().ok().map(Some);
        }
        match self.receiver.recv_timeout(MARK_SYNC_IDLE) {
            Ok(message) => Some(Some(message)),
            Err(flume::RecvTimeoutError::Timeout) => Some(None),
            Err(flume::RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Takes what else waits, up to the bounds of a group or the next deletion.
    fn gather(&self, first: Message) -> (Vec<Message>, Option<Message>) {
        let mut group_bytes = first.operation.payload_bytes();
        let mut batch = vec![first];
        while batch.len() < GROUP_OPERATIONS_MAX && group_bytes < GROUP_BYTES_MAX {
            match self.receiver.try_recv() {
                Ok(next) if next.operation.is_alone() => return (batch, Some(next)),
                Ok(next) => {
                    group_bytes += next.operation.payload_bytes();
                    batch.push(next);
                }
                Err(_) => break,
            }
        }
        (batch, None)
    }

    fn carry_out(&mut self, batch: Vec<Message>) -> Result<(), Stop> {
        let mut group = Group::after(self.tail);
        let mut is_synced = false;
        let mut waiting: Vec<Done> = Vec::with_capacity(batch.len());
        let mut submitted: Vec<Instant> = Vec::with_capacity(batch.len());
        let (next_before, mut payload_bytes) = (self.tail.next, 0);
        let mut outcome = Ok(());
        for message in batch {
            is_synced |= message.operation.is_synced();
            payload_bytes += message.operation.payload_bytes();
            waiting.push(message.done);
            submitted.push(message.submitted_at);
            if outcome.is_ok() {
                outcome = self.add(&mut group, message.operation);
            }
        }
        let outcome = outcome.and_then(|()| self.commit(group, is_synced));
        if let Err(failure) = outcome.and_then(|()| self.sweep()) {
            return Err(Stop { failure, waiting });
        }
        let entries = self.tail.next.saturating_sub(next_before);
        self.count(entries, payload_bytes, &submitted);
        let changes = waiting.len() + index_of(entries);
        for done in waiting {
            done(Ok(()));
        }
        self.ahead
            .grown(payload_bytes + changes * CHANGE_OVERHEAD_BYTES);
        Ok(())
    }

    fn count(&self, entries: u64, payload_bytes: usize, submitted: &[Instant]) {
        let counted = &self.metrics.journal;
        if entries > 0 {
            let now = Clock::system().now();
            counted.appended_entries.add(entries);
            counted.appended_bytes.add(to_u64(payload_bytes));
            counted.batch_entries.observe(index_of(entries));
            for at in submitted {
                counted.append_seconds.observe(now - *at);
            }
        }
    }

    fn add(&mut self, group: &mut Group, operation: Operation) -> Result<(), Failure> {
        match operation {
            Operation::Append { first, payloads } => group.append(first, &payloads),
            Operation::SaveVote { vote } => group.save_vote(&vote),
            Operation::SaveCommitted { committed } => group.save_committed(&committed),
            Operation::Close => {}
            Operation::Truncate { next } => return self.truncate(group, next),
            Operation::Purge { first, id } => {
                if first > group.tail.first {
                    let link = self.link_before(&group.tail, first)?;
                    group.purge(first, link, &id);
                }
            }
        }
        Ok(())
    }

    /// Removes records from the end, the last ones first and a bounded number
    /// per batch, so that a crash in between leaves a shorter log, not a hole.
    fn truncate(&mut self, group: &mut Group, next: u64) -> Result<(), Failure> {
        let next = next.max(group.tail.first);
        while group.tail.next > next {
            let cut = group.tail.next.saturating_sub(PURGE_RECORDS_MAX).max(next);
            let link = self.link_before(&group.tail, cut)?;
            group.truncate(cut, link);
            if cut > next {
                let full = std::mem::replace(group, Group::after(group.tail));
                self.commit(full, false)?;
            }
        }
        Ok(())
    }

    /// Checksum of the record before `index`.
    fn link_before(&self, tail: &Tail, index: u64) -> Result<Link, Failure> {
        if index == tail.first {
            return Ok(tail.first_link);
        }
        if index == tail.next {
            return Ok(tail.link);
        }
        if index > tail.next {
            return Ok(NO_LINK);
        }
        let record = self.log.record(index - 1).map_err(|_| Failure {
            operation: "read back a synced log record",
            kind: None,
        })?;
        Ok(record.link)
    }

    /// Writes the group; when it is synced, the mark follows before anyone hears.
    fn commit(&mut self, group: Group, is_synced: bool) -> Result<(), Failure> {
        let started = Clock::system().now();
        let (changes, tail) = group.seal();
        let committed = self.log.commit(changes, is_synced);
        committed.map_err(|source| failed("write and sync a group of log records", &source))?;
        self.tail = tail;
        if is_synced && self.log.is_synced() {
            let written = self.mark.write(Mark::of(&tail));
            written.map_err(|source| failed_file("write the mark", &source))?;
            let took = Clock::system().now() - started;
            self.metrics.journal.sync_seconds.observe(took);
        }
        Ok(())
    }

    /// Deletes what was purged, a bounded number of records per batch.
    fn sweep(&mut self) -> Result<(), Failure> {
        while self.tail.floor < self.tail.first {
            let mut group = Group::after(self.tail);
            group.sweep();
            self.commit(group, false)?;
        }
        Ok(())
    }

    fn sync_mark(&mut self) -> Result<(), Failure> {
        let synced = self.mark.sync();
        synced.map_err(|source| failed_file("sync the mark", &source))
    }

    /// Leaves everything on disk and the mark exact.
    fn close(&mut self) -> Result<(), Failure> {
        let persisted = self.log.persist();
        persisted.map_err(|source| failed("sync the log while closing", &source))?;
        if self.log.is_synced() {
            let written = self.mark.write(Mark::of(&self.tail));
            written.map_err(|source| failed_file("write the mark", &source))?;
        }
        self.sync_mark()
    }
}

fn failed(operation: &'static str, source: &fjall::Error) -> Failure {
    let kind = match source {
        fjall::Error::Io(error) => Some(error.kind()),
        _ => None,
    };
    Failure { operation, kind }
}

fn failed_file(operation: &'static str, source: &io::Error) -> Failure {
    Failure {
        operation,
        kind: Some(source.kind()),
    }
}
