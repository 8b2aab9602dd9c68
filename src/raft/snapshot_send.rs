//! The sending end of a snapshot: the state goes into a file, the file goes over
//! in parts, and goes on where it was when a connection was lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::base::units::{GIB_BYTES, index_of, to_u64};
use crate::base::{Clock, random_bytes};
use crate::disk::room;
use crate::journal::JournalError;
use crate::peer::Service;
use crate::runtime::{self, off_shard};
use crate::telemetry::Metrics;

use super::message_request::{ClusterRequest, read_hello};
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

/// A node that does not answer this within that time gets no snapshot.
const HELLO_LIMIT: Duration = Duration::from_secs(2);
/// After a transfer that failed the node waits for the next one, doubled each time …
const REST_MIN: Duration = Duration::from_secs(1);
/// … up to this: each one writes the whole state to this disk and reads it.
const REST_MAX: Duration = Duration::from_secs(60);
/// Failures so long ago say nothing about the next transfer.
const REST_MEMORY: Duration = Duration::from_secs(5 * 60);
/// A snapshot is a whole state more, in a file and, where it arrives, in the state itself.
/// Neither may take the room that the journal needs: this part of the disk …
const ROOM_PARTS: u64 = 50;
/// … and no more than so many bytes.
const ROOM_BYTES_MAX: u64 = GIB_BYTES;
/// Entries between two looks at the room that is left: mostly some KiB of them, and 256 MiB
/// of the largest manifests.
const ROOM_LOOK_ENTRIES: u32 = 64;
/// Doublings after which a rest is longest in any case.
const DOUBLINGS_MAX: u32 = 6;

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The file could not be made or read.
    #[error("the snapshot file: {0}")]
    File(Box<str>),
    /// The other node is not there; nothing was made for it.
    #[error("the node is not there: {0}")]
    Absent(AskError),
    /// It failed just now.
    #[error("the last one failed; the next one begins later")]
    Resting,
    /// The disk has no room for it.
    #[error("the disk of this node has no room for the whole state once more; free some of it")]
    NoRoom,
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
    rests: RefCell<BTreeMap<u64, Rest>>,
    needed: Rc<Needed>,
    metrics: Arc<Metrics>,
}

/// How long a node waits after transfers that failed.
#[derive(Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Rest {
    fn begin(&mut self) {
        let now = Clock::system().now();
        if self.until.is_some_and(|until| now > until + REST_MEMORY) {
            self.failures = 0;
        }
        let longer = REST_MIN.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + longer.min(REST_MAX));
    }

    fn is_on(&self) -> bool {
        self.until
            .is_some_and(|until| Clock::system().now() < until)
    }
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
            rests: RefCell::default(),
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
        self.look_for(target).await?;
        let turn = self.turn.acquire().await;
        let _turn = turn.expect("invariant: nobody closes the semaphore");
        let sent = self.send_now(target, vote, snapshot).await;
        let mut rests = self.rests.borrow_mut();
        match &sent {
            Ok(_) => drop(rests.remove(&target)),
            Err(_) => rests.entry(target).or_default().begin(),
        }
        sent
    }

    /// Whether a node is there to be sent anything, and its rest is over.
    async fn look_for(&self, target: u64) -> Result<(), SendError> {
        if self.rests.borrow().get(&target).is_some_and(Rest::is_on) {
            return Err(SendError::Resting);
        }
        let question = Question {
            service: Service::Cluster,
            payload: ClusterRequest::Hello.encode(),
            limit: HELLO_LIMIT,
        };
        let asked = self.peers.ask(target, question, read_hello).await;
        asked.map(drop).map_err(SendError::Absent)
    }

    async fn send_now(
        &self,
        target: u64,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<Vote, SendError> {
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
            let (looks, is_full) = (Cell::new(0_u32), Cell::new(false));
            let goes_on = || {
                if looks.replace(looks.get().wrapping_add(1)) % ROOM_LOOK_ENTRIES == 0 {
                    is_full.set(!has_room(&path, 0));
                }
                is_wanted() && !is_full.get()
            };
            let exported = snapshot_file::export(&view, &meta, &path, &goes_on);
            if is_full.get() {
                drop(fs::remove_file(&path));
                return Err(SendError::NoRoom);
            }
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
            let opened = opened.map_err(|error| file_error(&error));
            opened.map(|(file, bytes)| (file, bytes, meta))
        });
        let exported = exporting.await.map_err(|error| file_error(&error))?;
        let (file, bytes, meta) = exported?;
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

/// Whether `bytes` more beside `path` leave the journal its room.
pub(super) fn has_room(path: &Path, bytes: u64) -> bool {
    let folder = path.parent().unwrap_or(path);
    // What cannot be measured is tried.
    room(folder).map_or(true, |found| {
        let kept = (found.total_bytes / ROOM_PARTS).min(ROOM_BYTES_MAX);
        found.free_bytes >= bytes.saturating_add(kept)
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::StoredMembership;
    use crate::runtime::run_alone;

    fn snapshot() -> Snapshot {
        Snapshot {
            meta: SnapshotMeta {
                last_log_id: None,
                last_membership: StoredMembership::default(),
            },
            // Not this node's: to export it fails.
            snapshot: SnapshotData::File(PathBuf::from("/")),
        }
    }

    #[test]
    fn nothing_is_made_for_a_node_that_is_not_there() {
        run_alone(|| async {
            let home = tempfile::tempdir().unwrap();
            let peers = Rc::new(Peers::new(1, None));
            let metrics = Arc::new(Metrics::new());
            let sender = SnapshotSender::new(peers, home.path().to_owned(), metrics);
            let sent = sender.send(2, Vote::new(1, 1), snapshot()).await;
            assert!(matches!(sent, Err(SendError::Absent(_))), "{sent:?}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
            // It waits for nobody's turn, and is asked again at once when it is back.
            assert!(sender.rests.borrow().is_empty());
        });
    }

    #[test]
    fn a_node_that_fails_again_and_again_rests_longer_and_longer() {
        let mut rest = Rest::default();
        assert!(!rest.is_on());
        let mut before = Duration::ZERO;
        for _ in 0..10 {
            let now = Clock::system().now();
            rest.begin();
            let long = rest.until.unwrap() - now;
            assert!(long >= before.min(REST_MAX) && long < REST_MAX + REST_MIN);
            before = long;
            assert!(rest.is_on());
        }
        assert!(before >= REST_MAX);
    }

    #[test]
    fn a_snapshot_leaves_the_journal_its_room() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let found = room(home.path()).unwrap();
        assert!(has_room(&path, 0));
        assert!(!has_room(&path, found.free_bytes));
        assert!(!has_room(&path, u64::MAX));
    }
}
