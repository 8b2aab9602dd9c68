//! Files that shards of this node give up: until that is settled, the state is not told
//! that they are here. Else another node could rely on a file that goes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::announce::Said;
use super::blob_file::BlobFile;
use super::coordinator::Coordinator;
use super::letter::Letter;
use super::replicator::Worker;
use crate::metadata;
use crate::runtime::timeout;

/// What was said before is written down in this time, or a file is not given up: as
/// long as the journal holds a change for a leader.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// See the file's head. Lives in the coordinator.
#[derive(Debug, Default)]
pub(super) struct LeavingFiles(BTreeMap<BlobFile, Leave>);

#[derive(Debug, Default)]
struct Leave {
    /// Shards that give it up.
    shards: usize,
    /// Whether the state has to be told afterwards what is here.
    has_news: bool,
}

impl LeavingFiles {
    /// Whether the state must not be told now that a file is here.
    pub(super) fn hushes(&mut self, file: &BlobFile) -> bool {
        let leave = self.0.get_mut(file);
        leave.map(|leave| leave.has_news = true).is_some()
    }

    /// One shard is done; whether the state is to be told what is here.
    fn settle(&mut self, file: &BlobFile, has_moved: bool) -> bool {
        let Some(leave) = self.0.get_mut(file) else {
            return false;
        };
        leave.shards = leave.shards.saturating_sub(1);
        leave.has_news |= has_moved;
        if leave.shards > 0 {
            return false;
        }
        self.0.remove(file).is_some_and(|leave| leave.has_news)
    }
}

impl Coordinator {
    /// `Letter::Leaving`
    pub(super) fn leave(&mut self, file: BlobFile, reply: flume::Sender<()>) {
        self.leaving.0.entry(file).or_default().shards += 1;
        // The task that reads lives as long as this one.
        drop(self.announced.send(Said::Tell(reply)));
    }

    /// `Letter::Settled`: whatever the state was told meanwhile, it is told what is here.
    pub(super) async fn settle(&mut self, file: &BlobFile, has_moved: bool) {
        if !self.leaving.settle(file, has_moved) {
            return;
        }
        let view = self.worker.shared.journal().view();
        let blob = match metadata::blob(&view, &file.digest) {
            Ok(Some(blob)) if blob.generation == file.generation => blob,
            Ok(_) => return,
            Err(error) => return tracing::error!(%error, "the applied state cannot be read"),
        };
        drop(view);
        let (digest, generation) = (&file.digest, file.generation);
        let size_bytes = blob.size_bytes;
        let here = self.worker.store.is_durable(digest, generation, size_bytes);
        match here.await {
            Ok(is_here) => {
                if !is_here && blob.is_live() {
                    self.withdraw_claim();
                    self.missing(*file, size_bytes);
                }
                self.say(file, is_here);
            }
            Err(error) => {
                tracing::error!(%error, %digest, "a blob cannot be looked for");
                self.survey.restart();
            }
        }
    }
}

/// A shard is giving a file up; when dropped, it is done with that.
pub(super) struct Leaving<'a> {
    worker: &'a Worker,
    file: BlobFile,
    /// Whether the file may not be here any more.
    pub(super) has_moved: bool,
}

impl<'a> Leaving<'a> {
    /// Returns when the state is told no more that the file is here. `None` when that
    /// could not be reached in time.
    pub(super) async fn begin(worker: &'a Worker, file: &BlobFile) -> Option<Self> {
        let (reply, told) = flume::bounded(1);
        let letter = Letter::Leaving { file: *file, reply };
        worker.shared.letters().0.send(letter).ok()?;
        let leaving = Self {
            worker,
            file: *file,
            has_moved: false,
        };
        let told = timeout(LEAVE_MAX, told.recv_async()).await;
        told.ok()?.ok()?;
        Some(leaving)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let letter = Letter::Settled {
            file: self.file,
            has_moved: self.has_moved,
        };
        // Without a coordinator the process ends.
        drop(self.worker.shared.letters().0.send(letter));
    }
}
