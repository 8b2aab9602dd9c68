//! A file that cannot be read here, of a blob that other nodes have.

use super::blob_file::BlobFile;
use super::letter::{Letter, Want};
use super::replicator::Worker;
use crate::blob::{ReadError, Reader};
use crate::metadata::{self, Command, Outcome, StateError, YIELD_FILE_LEVEL};
use crate::raft::StateView;

impl Worker {
    /// Takes a file out of service after a read of it failed, if another node holds
    /// the blob; says whether the blob may be opened again, now as one that is not
    /// here. `failed` is the reader, when it came to one.
    ///
    /// Where nobody else holds it, a bad file is better than none: it stays, and is
    /// looked at again from time to time.
    pub(super) async fn replace(
        &self,
        file: &BlobFile,
        failed: Option<&Reader>,
        failure: &ReadError,
    ) -> bool {
        let digest = &file.digest;
        if !failure.is_of_the_file() {
            let error = failure as &dyn std::error::Error;
            tracing::error!(%digest, error, "a blob cannot be read just now");
            return false;
        }
        let now = self.clock.now();
        if self.doubts.borrow().is_resting(file, now) {
            tracing::debug!(%digest, %failure, "a blob cannot be read here, still");
            return false;
        }
        if !self.is_given_up(file).await {
            tracing::error!(%digest, %failure, "a blob cannot be read here; its file stays, because no other node is known to hold it");
            self.doubt(file);
            return false;
        }
        tracing::error!(%digest, %failure, "a blob cannot be read here; it comes from another node");
        let moved = self.store.set_aside(digest, file.generation, failed).await;
        match moved {
            // Another request may have done it.
            Ok(_) => {
                self.trust(file);
                true
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "a bad file stays in service");
                self.doubt(file);
                false
            }
        }
    }

    /// As [`Worker::replace`], and has it fetched though no client waits for it.
    pub(super) async fn repair(&self, file: &BlobFile, failed: &Reader, failure: &ReadError) {
        if self.replace(file, Some(failed), failure).await {
            self.fetch_anew(file, failed.size_bytes()).await;
        }
    }

    /// Looks at a file again that failed before; says whether nothing more is to be
    /// done about it.
    pub(super) async fn is_settled(&self, file: &BlobFile) -> bool {
        let view = self.shared.journal().view();
        let size_bytes = match metadata::blob(&view, &file.digest) {
            Ok(Some(blob)) if blob.generation == file.generation => blob.size_bytes,
            // Nobody may read it any more.
            Ok(_) => return true,
            Err(_) => return false,
        };
        if !self.is_held_elsewhere(&view, file) {
            return false;
        }
        drop(view);
        let BlobFile { digest, generation } = file;
        let mut reader = match self.store.reader(digest, *generation, size_bytes).await {
            Ok(reader) => reader,
            Err(ReadError::Missing) => return true,
            Err(failure) => {
                let is_replaced = self.replace(file, None, &failure).await;
                if is_replaced {
                    self.fetch_anew(file, size_bytes).await;
                }
                return is_replaced;
            }
        };
        loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    // A question whose answer was lost may have been granted.
                    drop(self.shared.letters().0.send(Letter::Sound(*file)));
                    return true;
                }
                Err(failure) => {
                    self.repair(file, &reader, &failure).await;
                    return !self.doubts.borrow().has(file);
                }
            }
        }
    }

    async fn fetch_anew(&self, file: &BlobFile, size_bytes: u64) {
        // The plan keeps what the state has.
        drop(self.shared.want(Want::of(file, size_bytes)).await);
    }

    /// Whether the state lets this node give its file up, and counts on it no more.
    async fn is_given_up(&self, file: &BlobFile) -> bool {
        let view = self.shared.journal().view();
        if !self.is_held_elsewhere(&view, file) {
            return false;
        }
        if !is_asked_first(&view) {
            return true;
        }
        drop(view);
        let command = Command::YieldFile {
            node: self.shared.options().node,
            digest: file.digest,
            generation: file.generation,
        };
        match self.shared.journal().propose(command).await {
            Ok(outcome) => outcome == Outcome::Applied,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "nobody says whether a bad file may go");
                false
            }
        }
    }

    /// Whether the state names another node of the cluster that holds a blob.
    fn is_held_elsewhere(&self, view: &StateView, file: &BlobFile) -> bool {
        let holders = metadata::holders(view, &file.digest);
        let others = self.shared.peers().others(self.shared.options().node);
        holders.is_ok_and(|holders| {
            let is_other = |holder: &u64| others.iter().any(|peer| peer.node.id == *holder);
            holders.iter().any(is_other)
        })
    }
}

/// Whether all nodes know the question.
fn is_asked_first(view: &StateView) -> bool {
    let level: Result<u32, StateError> = metadata::format_level(view);
    level.is_ok_and(|level| level >= YIELD_FILE_LEVEL)
}
