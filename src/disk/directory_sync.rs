//! Syncs of directories, shared by everybody who waits for the same one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustix::fs::OFlags;

use super::error::Error;
use super::open::open;
use super::ring_file::ring_file;
use crate::base::Mutant;

/// The directories of one shard that are being synced right now.
///
/// Whoever changed a directory needs a sync that *starts* after the change. While one
/// runs, all who come wait for the next, and one of them does it for all.
#[derive(Debug, Clone, Default)]
pub(super) struct DirectorySync(Rc<RefCell<HashMap<PathBuf, Turns>>>);

#[derive(Debug, Default)]
struct Turns {
    /// Syncs started; the one with number `n` covers every ticket below `n`.
    started: u64,
    /// Highest sync that has ended well.
    done: u64,
    is_running: bool,
    /// How many callers use this entry.
    users: usize,
    waiting: Vec<Waker>,
}

/// What a caller may do next.
enum Turn {
    Done,
    Lead(u64),
}

/// Keeps the entry of a directory while somebody uses it.
struct Seat {
    sync: DirectorySync,
    path: PathBuf,
    /// The sync this caller leads, until it has ended.
    leads: bool,
}

impl DirectorySync {
    /// Returns when the entries that `directory` has now survive a power cut.
    ///
    /// - Cancel: whoever waits for the same sync starts another one.
    pub(super) async fn sync(&self, directory: &Path) -> Result<(), Error> {
        self.sync_with(directory, sync_directory).await
    }

    async fn sync_with(
        &self,
        directory: &Path,
        act: impl AsyncFn(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut seat = Seat::take(self, directory);
        let needed = seat.turns(|turns| turns.started) + 1;
        loop {
            match seat.wait_turn(needed).await {
                Turn::Done => return Ok(()),
                Turn::Lead(number) => {
                    let outcome = act(directory).await;
                    seat.end_turn(outcome.is_ok().then_some(number));
                    outcome?;
                }
            }
        }
    }
}

impl Seat {
    fn take(sync: &DirectorySync, directory: &Path) -> Self {
        let mut entries = sync.0.borrow_mut();
        entries.entry(directory.to_owned()).or_default().users += 1;
        drop(entries);
        Self {
            sync: sync.clone(),
            path: directory.to_owned(),
            leads: false,
        }
    }

    fn turns<T>(&self, change: impl FnOnce(&mut Turns) -> T) -> T {
        let mut entries = self.sync.0.borrow_mut();
        let turns = entries
            .get_mut(&self.path)
            .expect("invariant: the entry stays while it has users");
        change(turns)
    }

    /// Waits until sync `needed` has ended, or it is on this caller to run one.
    async fn wait_turn(&mut self, needed: u64) -> Turn {
        let turn = poll_fn(|context| {
            self.turns(|turns| {
                if turns.done >= needed {
                    return Poll::Ready(Turn::Done);
                }
                if turns.is_running {
                    turns.waiting.push(context.waker().clone());
                    return Poll::Pending;
                }
                turns.is_running = true;
                turns.started += 1;
                Poll::Ready(Turn::Lead(turns.started))
            })
        })
        .await;
        self.leads = matches!(turn, Turn::Lead(_));
        turn
    }

    fn end_turn(&mut self, done: Option<u64>) {
        self.leads = false;
        let waiting = self.turns(|turns| {
            turns.is_running = false;
            turns.done = turns.done.max(done.unwrap_or(0));
            std::mem::take(&mut turns.waiting)
        });
        for waker in waiting {
            waker.wake();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.leads {
            self.end_turn(None);
        }
        let mut entries = self.sync.0.borrow_mut();
        if let Some(turns) = entries.get_mut(&self.path) {
            turns.users -= 1;
            if turns.users == 0 {
                entries.remove(&self.path);
            }
        }
    }
}

/// Syncs a directory through the ring, so that any number of them wait for one commit
/// of the file system together.
///
/// The ring only knows `fdatasync`; for a directory that is a sync of its entries on
/// every file system in question: ext4 (since 5.10) forces a full commit for whatever
/// is not a regular file, xfs forces its log, btrfs logs the directory.
async fn sync_directory(directory: &Path) -> Result<(), Error> {
    if Mutant::SkipDirectorySync.is_on() {
        return Ok(());
    }
    let file = ring_file(open(directory, OFlags::RDONLY | OFlags::DIRECTORY).await?);
    let synced = file.fdatasync().await;
    synced.map_err(|source| Error::of_runtime("sync directory", directory, source))
}

#[cfg(test)]
#[path = "directory_sync_test.rs"]
mod tests;
