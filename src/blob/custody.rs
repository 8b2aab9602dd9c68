//! A session in use: the right to it and the writes under way, which end together.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;

use super::desk::Claim;
use super::errors::UploadError;
use super::table::Return;
use crate::disk::{self, Directories, Pending};

/// A write under way.
pub(super) type Write = Pending<()>;
/// Reaches the janitor of this shard.
pub(super) type ToJanitor = flume::Sender<Closing>;

/// Holds a session and its writes. However the holder ends, the session goes back
/// only after the last write has ended, because the next holder writes to the same
/// file; a dropped holder leaves that to the shard's janitor.
#[derive(Debug)]
pub(super) struct Custody {
    /// `None` when there is nothing left to close.
    closing: Option<Closing>,
    janitor: ToJanitor,
}

/// What is left to do for a session that nobody works on any more.
pub(super) struct Closing {
    /// `None` for an upload without a session.
    claim: Option<Claim>,
    /// In the order of the file; each with the end of its bytes there.
    writes: VecDeque<(Write, u64)>,
    /// Everything the writes so far brought is in the file up to here.
    written_bytes: u64,
    /// Files to remove, in this order.
    scraps: Vec<PathBuf>,
    how: Return,
    /// Set by the first write that failed: the data file has a hole.
    is_broken: bool,
    /// Whether it failed because the disk is full.
    is_full: bool,
    done: Option<flume::Sender<()>>,
}

impl Custody {
    /// Takes a session over. Dropped, it goes back unchanged.
    pub(super) const fn of_session(claim: Claim, janitor: ToJanitor) -> Self {
        let closing = Closing {
            claim: Some(claim),
            writes: VecDeque::new(),
            written_bytes: 0,
            scraps: Vec::new(),
            how: Return::Unchanged,
            is_broken: false,
            is_full: false,
            done: None,
        };
        Self {
            closing: Some(closing),
            janitor,
        }
    }

    /// For bytes without a session. Dropped, the file `data` is removed, if any.
    pub(super) fn of_file(data: PathBuf, janitor: ToJanitor) -> Self {
        let closing = Closing {
            claim: None,
            writes: VecDeque::new(),
            written_bytes: 0,
            scraps: vec![data],
            how: Return::Ended,
            is_broken: false,
            is_full: false,
            done: None,
        };
        Self {
            closing: Some(closing),
            janitor,
        }
    }

    /// Changes what becomes of the session when this is dropped or closed.
    pub(super) fn will(&mut self, how: Return, scraps: Vec<PathBuf>) {
        if let Some(closing) = &mut self.closing {
            closing.how = how;
            closing.scraps = scraps;
        }
    }

    /// Acknowledged bytes of the session when it was taken over.
    pub(super) fn recorded_bytes(&self) -> u64 {
        let claim = self.closing.as_ref().and_then(|one| one.claim.as_ref());
        claim.map_or(0, |claim| claim.standing().held_bytes)
    }

    /// Whether a session is behind this, which can be suspended.
    pub(super) fn has_session(&self) -> bool {
        self.closing.as_ref().is_some_and(|one| one.claim.is_some())
    }

    /// Notes a write under way, of the bytes up to `end_bytes`.
    pub(super) fn add(&mut self, write: Write, end_bytes: u64) {
        if let Some(closing) = &mut self.closing {
            closing.writes.push_back((write, end_bytes));
        }
    }

    /// Where the first byte lies that is not in the file yet, as far as the writes
    /// noted here are concerned.
    ///
    /// - Errors: as [`Custody::wait_below`].
    pub(super) fn written_bytes(&mut self) -> Result<u64, UploadError> {
        match &mut self.closing {
            Some(closing) => closing.look(),
            None => Ok(0),
        }
    }

    /// Everything before `end_bytes` was written earlier.
    pub(super) fn resume_at(&mut self, end_bytes: u64) {
        if let Some(closing) = &mut self.closing {
            closing.written_bytes = end_bytes;
        }
    }

    /// What lies behind `end_bytes` does not count as written any more. Only after
    /// every write has ended.
    pub(super) fn rewind(&mut self, end_bytes: u64) {
        if let Some(closing) = &mut self.closing {
            assert!(closing.writes.is_empty(), "no write may come later");
            closing.written_bytes = closing.written_bytes.min(end_bytes);
        }
    }

    /// Writes under way, or ended and not looked at.
    pub(super) fn writes(&self) -> usize {
        self.closing.as_ref().map_or(0, |one| one.writes.len())
    }

    /// Waits until fewer than `limit` writes are under way.
    ///
    /// - Errors: of the first write that failed, and `Broken` ever after: such an
    ///   upload must not be acknowledged.
    pub(super) async fn wait_below(&mut self, limit: usize) -> Result<(), UploadError> {
        match &mut self.closing {
            Some(closing) => closing.wait_below(limit).await,
            None => Ok(()),
        }
    }

    /// Ends the custody as [`Custody::will`] said, and waits until that is done.
    ///
    /// - Cancel: the janitor goes on.
    pub(super) async fn close(mut self) {
        let Some(mut closing) = self.closing.take() else {
            return;
        };
        if closing.writes.is_empty() && closing.scraps.is_empty() {
            return closing.give_back();
        }
        let (done, is_done) = flume::bounded(1);
        closing.done = Some(done);
        drop(self.janitor.send(closing));
        // An error means that the janitor, and with it the shard, has ended.
        let _ = is_done.recv_async().await;
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        if let Some(mut closing) = self.closing.take() {
            if closing.writes.is_empty() && closing.scraps.is_empty() {
                closing.give_back();
            } else {
                drop(self.janitor.send(closing));
            }
        }
    }
}

impl Closing {
    async fn wait_below(&mut self, limit: usize) -> Result<(), UploadError> {
        while self.writes.len() >= limit {
            let Some((oldest, end_bytes)) = self.writes.front_mut() else {
                break;
            };
            let end_bytes = *end_bytes;
            let outcome = oldest.await;
            self.note(outcome, end_bytes)?;
        }
        if self.is_broken {
            return Err(self.broken());
        }
        Ok(())
    }

    /// Looks at the writes that have ended, without waiting.
    fn look(&mut self) -> Result<u64, UploadError> {
        while let Some((oldest, end_bytes)) = self.writes.front_mut() {
            let end_bytes = *end_bytes;
            let Some(outcome) = oldest.now_or_never() else {
                break;
            };
            self.note(outcome, end_bytes)?;
        }
        if self.is_broken {
            return Err(self.broken());
        }
        Ok(self.written_bytes)
    }

    const fn broken(&self) -> UploadError {
        UploadError::Broken {
            is_full: self.is_full,
        }
    }

    /// The oldest write has ended.
    fn note(
        &mut self,
        outcome: Result<(), disk::Error>,
        end_bytes: u64,
    ) -> Result<(), UploadError> {
        drop(self.writes.pop_front());
        if let Err(error) = &outcome {
            self.is_broken = true;
            self.is_full |= error.is_full();
        }
        outcome?;
        self.written_bytes = end_bytes;
        Ok(())
    }

    fn give_back(&mut self) {
        if let Some(claim) = self.claim.take() {
            claim.give_back(self.how);
        }
    }
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closing")
            .field("claim", &self.claim)
            .field("writes", &self.writes.len())
            .field("scraps", &self.scraps)
            .finish_non_exhaustive()
    }
}

/// Closes what requests of this shard leave behind, one at a time. A task of the
/// shard's store.
pub(super) async fn clean(closings: flume::Receiver<Closing>, directories: Directories) {
    while let Ok(mut closing) = closings.recv_async().await {
        while !closing.writes.is_empty() {
            // The request that could have reported a failure is gone.
            drop(closing.wait_below(1).await);
        }
        for path in std::mem::take(&mut closing.scraps) {
            remove(&directories, &path).await;
        }
        closing.give_back();
        if let Some(done) = closing.done.take() {
            // Nobody waits when the request was dropped.
            let _ = done.send(());
        }
    }
}

/// Removes a file of an upload. One that stays is found at the next start.
pub(super) async fn remove(directories: &Directories, path: &Path) {
    if let Err(error) = directories.remove(path).await {
        tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "an upload leaves a file");
    }
}
