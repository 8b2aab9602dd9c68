//! The sending end of a snapshot: the state goes into a file, the file goes over
//! in parts, and goes on where it was when a connection was lost.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::base::units::{index_of, to_u64};
use crate::base::{Clock, random_bytes};
use crate::journal::JournalError;
use crate::peer::Service;
use crate::runtime::{self, off_shard};
use crate::telemetry::Metrics;

use super::message_snapshot::{
    PART_BYTES_MAX, SnapshotMessage, SnapshotProgress, SnapshotStep, read_progress,
};
use super::peers::{AskError, Peers, Question};
use super::snapshot::SnapshotData;
use super::snapshot_file;
use super::types::{Snapshot, SnapshotMeta, Vote};

/// One part over a slow link, and its write on a busy disk.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// A transfer that has not moved for this long is given up.
const STALL_MAX: Duration = Duration::from_secs(15);
/// Pause before a lost connection is tried again, and between questions whether
/// the file is installed.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The log is kept this long behind a finished transfer, until the receiver is
/// fed from it.
const KEPT_AFTER: Duration = Duration::from_secs(10);

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The file could not be made or read.
    #[error("the snapshot file: {0}")]
    File(Box<str>),
    /// The other node did not take it.
    #[error("the node does not take it: {0}")]
    Refused(AskError),
    /// The transfer did not move.
    #[error("the node has not answered for {STALL_MAX:?}, last: {0}")]
    Stalled(AskError),
}

/// Sends snapshots, one at a time: a second one waits, so that neither disk nor
/// network is filled by nodes that come back together. One per raft core.
#[derive(Debug)]
pub(super) struct SnapshotSender {
    peers: Rc<Peers>,
    directory: PathBuf,
    turn: Semaphore,
    needed: Rc<Needed>,
    metrics: Arc<Metrics>,
}

/// The entries that a receiver of a snapshot needs behind it.
#[derive(Debug, Default)]
pub(super) struct Needed(Cell<Option<(u64, Option<Instant>)>>);

impl Needed {
    /// Index of the last entry that may go; `None` when all may.
    pub(super) fn last_free(&self, now: Instant) -> Option<u64> {
        let (index, until) = self.0.get()?;
        if until.is_some_and(|until| until <= now) {
            self.0.set(None);
            return None;
        }
        Some(index)
    }
}

impl SnapshotSender {
    /// Sends to `peers` by files in `directory`.
    pub(super) fn new(peers: Rc<Peers>, directory: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self {
            peers,
            directory,
            turn: Semaphore::new(1),
            needed: Rc::default(),
            metrics,
        }
    }

    /// What the log must keep.
    pub(super) fn needed(&self) -> Rc<Needed> {
        Rc::clone(&self.needed)
    }

    /// Sends a snapshot and waits until it is installed; returns the vote of the
    /// receiver, which refused the snapshot when it is above `vote`.
    ///
    /// - Cancel: the transfer ends; the receiver forgets it with the next one.
    pub(super) async fn send(
        &self,
        target: u64,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<Vote, SendError> {
        let turn = self.turn.acquire().await;
        let _turn = turn.expect("invariant: nobody closes the semaphore");
        let index = snapshot.meta.last_log_id.map_or(0, |id| id.index);
        let _needed = Keeping::new(&self.needed, index);
        let file = self.export(snapshot).await?;
        let transfer = Transfer {
            peers: &self.peers,
            metrics: &self.metrics,
            target,
            number: u64::from_le_bytes(random_bytes()),
            file: Arc::clone(&file.file),
            file_bytes: file.bytes,
            begin: SnapshotStep::Begin {
                vote,
                file_bytes: file.bytes,
                meta: file.meta.clone(),
            },
        };
        tracing::info!(
            target,
            index,
            bytes = file.bytes,
            "a snapshot is being sent"
        );
        transfer.run().await
    }

    /// Writes the state into a file, off the core.
    async fn export(&self, snapshot: Snapshot) -> Result<Outgoing, SendError> {
        let name = u64::from_le_bytes(random_bytes());
        let path = self
            .directory
            .join(format!("outgoing-{name:016x}.snapshot"));
        let meta = snapshot.meta.clone();
        let view = match snapshot.snapshot {
            SnapshotData::View(view) => view,
            SnapshotData::File(path) => {
                let reason = format!("{} is no state of this node", path.display());
                return Err(SendError::File(reason.into()));
            }
        };
        let guard = FileGuard::new(path.clone());
        let is_abandoned = Arc::clone(&guard.is_abandoned);
        let exporting = off_shard(move || {
            let is_wanted = || !is_abandoned.load(Ordering::Relaxed);
            let exported = snapshot_file::export(&view, &meta, &path, &is_wanted);
            let opened = exported.and_then(|()| {
                let opened = File::open(&path).and_then(|file| {
                    let bytes = file.metadata()?.len();
                    Ok((file, bytes))
                });
                opened.map_err(|source| JournalError::File {
                    operation: "open a snapshot file",
                    source,
                })
            });
            if !is_wanted() {
                // Whoever wanted it is gone, and with them who would remove it.
                drop(fs::remove_file(&path));
            }
            opened.map(|(file, bytes)| (file, bytes, meta))
        });
        let exported = exporting.await.map_err(|error| file_error(&error))?;
        let (file, bytes, meta) = exported.map_err(|error| file_error(&error))?;
        Ok(Outgoing {
            file: Arc::new(file),
            bytes,
            meta,
            _guard: guard,
        })
    }
}

fn file_error(error: &dyn std::error::Error) -> SendError {
    SendError::File(error.to_string().into())
}

/// Keeps the log behind a snapshot while it travels, and a little longer.
struct Keeping<'a>(&'a Needed);

impl<'a> Keeping<'a> {
    fn new(needed: &'a Needed, index: u64) -> Self {
        needed.0.set(Some((index, None)));
        Self(needed)
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        let until = Clock::system().now() + KEPT_AFTER;
        let index = self.0.0.get().map(|(index, _)| index);
        self.0.0.set(index.map(|index| (index, Some(until))));
    }
}

/// A file that goes with whoever needs it.
#[derive(Debug)]
struct FileGuard {
    path: PathBuf,
    is_abandoned: Arc<AtomicBool>,
}

impl FileGuard {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_abandoned: Arc::default(),
        }
    }
}

impl Drop for FileGuard {
    fn drop(&mut self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        // When the export still runs there may be no file yet; it removes its own.
        drop(fs::remove_file(&self.path));
    }
}

/// A complete snapshot file on its way out.
struct Outgoing {
    file: Arc<File>,
    bytes: u64,
    meta: SnapshotMeta,
    _guard: FileGuard,
}

/// One file on its way to one node.
struct Transfer<'a> {
    peers: &'a Peers,
    metrics: &'a Metrics,
    target: u64,
    number: u64,
    file: Arc<File>,
    file_bytes: u64,
    begin: SnapshotStep,
}

impl Transfer<'_> {
    async fn run(&self) -> Result<Vote, SendError> {
        let clock = Clock::system();
        let mut moved_at = clock.now();
        let mut next = self.begin.clone();
        loop {
            let part_bytes = match &next {
                SnapshotStep::Part { bytes, .. } => Some(to_u64(bytes.len())),
                SnapshotStep::Begin { .. } | SnapshotStep::Finish => None,
            };
            match self.ask(next).await {
                Ok(progress) => {
                    moved_at = clock.now();
                    let sent_bytes = &self.metrics.journal.snapshot_sent_bytes;
                    sent_bytes.add(part_bytes.unwrap_or(0));
                    next = match progress {
                        SnapshotProgress::Done { vote } => return Ok(vote),
                        SnapshotProgress::Holding { bytes } if bytes >= self.file_bytes => {
                            SnapshotStep::Finish
                        }
                        SnapshotProgress::Holding { bytes } => self.part(bytes).await?,
                        SnapshotProgress::Installing => {
                            runtime::sleep(RETRY_PAUSE).await;
                            SnapshotStep::Finish
                        }
                        SnapshotProgress::Unknown => {
                            if part_bytes.is_none() {
                                runtime::sleep(RETRY_PAUSE).await;
                            }
                            self.begin.clone()
                        }
                    };
                }
                Err(error @ (AskError::Denied(_) | AskError::Unusable { .. })) => {
                    return Err(SendError::Refused(error));
                }
                Err(error) if clock.now() - moved_at > STALL_MAX => {
                    return Err(SendError::Stalled(error));
                }
                Err(error) => {
                    tracing::debug!(target = self.target, %error, "a snapshot waits");
                    runtime::sleep(RETRY_PAUSE).await;
                    next = self.begin.clone();
                }
            }
        }
    }

    async fn ask(&self, step: SnapshotStep) -> Result<SnapshotProgress, AskError> {
        let message = SnapshotMessage {
            transfer: self.number,
            step,
        };
        let question = Question {
            service: Service::Snapshot,
            payload: message.encode(),
            limit: CALL_LIMIT,
        };
        self.peers.ask(self.target, question, read_progress).await
    }

    /// The part of the file that starts at `offset`.
    async fn part(&self, offset: u64) -> Result<SnapshotStep, SendError> {
        let left = self.file_bytes.saturating_sub(offset);
        let length = index_of(left.min(to_u64(PART_BYTES_MAX)));
        let file = Arc::clone(&self.file);
        let reading = off_shard(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset)?;
            Ok::<_, std::io::Error>(Bytes::from(bytes))
        });
        let read = reading.await.map_err(|error| file_error(&error))?;
        let bytes = read.map_err(|error| file_error(&error))?;
        Ok(SnapshotStep::Part { offset, bytes })
    }
}
