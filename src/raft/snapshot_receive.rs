//! The receiving end of a snapshot: one file at a time, kept while the connection
//! is lost, installed when it is whole.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::random_bytes;
use crate::base::units::to_u64;
use crate::runtime::{self, off_shard};
use crate::telemetry::Metrics;

use super::message_snapshot::{SnapshotMessage, SnapshotProgress, SnapshotStep};
use super::snapshot::SnapshotData;
use super::snapshot_file;
use super::snapshot_send::has_room;
use super::types::{Raft, Snapshot, SnapshotMeta, Vote};

/// A file, and the state that it becomes.
const COPIES: u64 = 2;

/// Receives snapshots. One per raft core.
#[derive(Debug)]
pub(super) struct SnapshotReceiver {
    directory: PathBuf,
    state: Rc<RefCell<State>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum State {
    Idle,
    Receiving(Receiving),
    /// Bytes are on their way to the disk.
    Writing,
    Installing,
    Done(u64, Vote),
}

/// A file that is not whole yet.
#[derive(Debug)]
struct Receiving {
    transfer: u64,
    vote: Vote,
    meta: SnapshotMeta,
    /// Its own for every transfer: an old one may still be read.
    path: PathBuf,
    file: Arc<File>,
    file_bytes: u64,
    held_bytes: u64,
}

impl SnapshotReceiver {
    /// Receives into `directory`, which is emptied: whatever a process that ended
    /// left there belongs to nobody.
    pub(super) fn new(directory: PathBuf, metrics: Arc<Metrics>) -> io::Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            state: Rc::new(RefCell::new(State::Idle)),
            metrics,
        })
    }

    /// Takes one step of a transfer and says how far it is.
    pub(super) async fn take(
        &self,
        raft: &Raft,
        message: SnapshotMessage,
    ) -> io::Result<SnapshotProgress> {
        let transfer = message.transfer;
        match message.step {
            SnapshotStep::Begin {
                vote,
                file_bytes,
                meta,
            } => {
                if let Some(progress) = self.progress(transfer) {
                    return Ok(progress);
                }
                self.make_room().await;
                let path = self.path();
                // It becomes a file, and then the state beside the one that is here.
                if !has_room(&path, file_bytes.saturating_mul(COPIES)) {
                    return Err(io::Error::new(
                        io::ErrorKind::StorageFull,
                        format!("the disk has no room for twice {file_bytes} bytes of state"),
                    ));
                }
                let fresh = |file| Receiving {
                    transfer,
                    vote,
                    meta,
                    path: path.clone(),
                    file: Arc::new(file),
                    file_bytes,
                    held_bytes: 0,
                };
                self.begin(&path, fresh).await
            }
            SnapshotStep::Part { offset, bytes } => self.write(transfer, offset, bytes).await,
            SnapshotStep::Finish => Ok(self.finish(raft, transfer)),
        }
    }

    /// Where a transfer is, unless it has to begin.
    fn progress(&self, transfer: u64) -> Option<SnapshotProgress> {
        match &*self.state.borrow() {
            State::Receiving(held) if held.transfer == transfer => {
                Some(SnapshotProgress::Holding {
                    bytes: held.held_bytes,
                })
            }
            State::Done(done, vote) if *done == transfer => {
                Some(SnapshotProgress::Done { vote: *vote })
            }
            // Another transfer has to wait for these, and the same one, too.
            State::Writing | State::Installing => Some(SnapshotProgress::Installing),
            State::Idle | State::Receiving(_) | State::Done(..) => None,
        }
    }

    /// Removes what came of another transfer: its sender has given it up.
    async fn make_room(&self) {
        let before = self.state.replace(State::Idle);
        if let State::Receiving(before) = before {
            let path = before.path;
            drop(off_shard(move || drop(fs::remove_file(path))).await);
        } else {
            self.state.replace(before);
        }
    }

    fn path(&self) -> PathBuf {
        let name = u64::from_le_bytes(random_bytes());
        self.directory
            .join(format!("incoming-{name:016x}.snapshot"))
    }

    /// Makes room for a file, in place of any other.
    async fn begin(
        &self,
        path: &Path,
        fresh: impl FnOnce(File) -> Receiving,
    ) -> io::Result<SnapshotProgress> {
        let made = off_shard({
            let path = path.to_owned();
            move || OpenOptions::new().write(true).create_new(true).open(path)
        });
        let file = made.await.map_err(io::Error::other)??;
        let is_busy = matches!(&*self.state.borrow(), State::Writing | State::Installing);
        if is_busy {
            forget(path.to_owned());
            return Ok(SnapshotProgress::Installing);
        }
        let before = self.state.replace(State::Receiving(fresh(file)));
        if let State::Receiving(before) = before {
            forget(before.path);
        }
        Ok(SnapshotProgress::Holding { bytes: 0 })
    }

    async fn write(
        &self,
        transfer: u64,
        offset: u64,
        bytes: Bytes,
    ) -> io::Result<SnapshotProgress> {
        let state = self.state.replace(State::Writing);
        let held = match state {
            State::Receiving(held) if held.transfer == transfer => held,
            other => {
                self.state.replace(other);
                return Ok(self.progress(transfer).unwrap_or(SnapshotProgress::Unknown));
            }
        };
        let is_next =
            offset == held.held_bytes && to_u64(bytes.len()) <= held.file_bytes - held.held_bytes;
        if !is_next {
            let progress = SnapshotProgress::Holding {
                bytes: held.held_bytes,
            };
            self.state.replace(State::Receiving(held));
            return Ok(progress);
        }
        // A task of its own: the call may be dropped with its connection, the
        // state must not.
        let part_bytes = to_u64(bytes.len());
        let writing = write_part(held, bytes, Rc::clone(&self.state));
        let written = runtime::spawn(writing).detach().await;
        written.map_err(io::Error::other)??;
        self.metrics.journal.snapshot_received_bytes.add(part_bytes);
        Ok(self.progress(transfer).unwrap_or(SnapshotProgress::Unknown))
    }

    /// Starts to install a whole file.
    fn finish(&self, raft: &Raft, transfer: u64) -> SnapshotProgress {
        let state = self.state.replace(State::Idle);
        let held = match state {
            State::Receiving(held)
                if held.transfer == transfer && held.held_bytes == held.file_bytes =>
            {
                held
            }
            other => {
                self.state.replace(other);
                return self.progress(transfer).unwrap_or(SnapshotProgress::Unknown);
            }
        };
        self.state.replace(State::Installing);
        let parts = (Rc::clone(&self.state), Arc::clone(&self.metrics));
        let installing = install(raft.clone(), held, parts);
        runtime::spawn(installing).detach();
        SnapshotProgress::Installing
    }
}

/// Writes the next part of a file.
async fn write_part(
    mut held: Receiving,
    bytes: Bytes,
    state: Rc<RefCell<State>>,
) -> io::Result<()> {
    let (file, offset, length) = (Arc::clone(&held.file), held.held_bytes, bytes.len());
    let written = off_shard(move || file.write_all_at(&bytes, offset)).await;
    let outcome = written
        .map_err(io::Error::other)
        .and_then(|written| written);
    state.replace(if outcome.is_ok() {
        held.held_bytes += to_u64(length);
        State::Receiving(held)
    } else {
        forget(held.path);
        State::Idle
    });
    outcome
}

/// Reads the file once before openraft does: what it cannot install ends it.
async fn install(
    raft: Raft,
    held: Receiving,
    (state, metrics): (Rc<RefCell<State>>, Arc<Metrics>),
) {
    let verifying = off_shard({
        let (path, meta) = (held.path.clone(), held.meta.clone());
        move || snapshot_file::verify(&path, &meta).map_err(|error| error.to_string())
    });
    let verified = verifying.await.map_err(|error| error.to_string());
    let next = match verified.and_then(|verified| verified) {
        Ok(()) => {
            let snapshot = Snapshot {
                meta: held.meta,
                snapshot: SnapshotData::File(held.path.clone()),
            };
            let installed = raft.install_full_snapshot(held.vote, snapshot).await;
            installed.map_err(|error| error.to_string())
        }
        Err(reason) => Err(reason),
    };
    let next = match next {
        Ok(response) => {
            metrics.journal.snapshots_installed.count();
            State::Done(held.transfer, response.vote)
        }
        Err(reason) => {
            tracing::warn!(%reason, "a received snapshot was not installed");
            State::Idle
        }
    };
    // It is still there when this node had no need of it any more.
    forget(held.path);
    state.replace(next);
}

/// Removes a file, if it is there, off the executor.
fn forget(path: PathBuf) {
    let removing = off_shard(move || drop(fs::remove_file(path)));
    runtime::spawn(async move { drop(removing.await) }).detach();
}
