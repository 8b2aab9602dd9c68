//! A file that cannot be read here, of a blob that other nodes have.

use super::blob_file::BlobFile;
use super::letter::Want;
use super::replicator::Worker;
use crate::blob::{ReadError, Reader};
use crate::metadata;

impl Worker {
    /// Takes a file out of service after a read of it failed, if another node holds
    /// the blob; says whether the blob may be opened again, now as one that is not
    /// here. `failed` is the reader, when it came to one.
    ///
    /// Where nobody else holds it, a bad file is better than none.
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
        if !self.is_held_elsewhere(file) {
            tracing::error!(%digest, %failure, "a blob cannot be read here, and no other node holds it");
            return false;
        }
        tracing::error!(%digest, %failure, "a blob cannot be read here; it comes from another node");
        let moved = self.store.set_aside(digest, file.generation, failed).await;
        match moved {
            // Another request may have done it.
            Ok(_) => true,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%digest, error, "a bad file stays in service");
                false
            }
        }
    }

    /// As [`Worker::replace`], and has it fetched though no client waits for it.
    pub(super) async fn repair(&self, file: &BlobFile, failed: &Reader, failure: &ReadError) {
        if self.replace(file, Some(failed), failure).await {
            let want = Want::of(file, failed.size_bytes());
            // The plan keeps what the state has.
            drop(self.shared.want(want).await);
        }
    }

    /// Whether the state names another node of the cluster that holds a blob.
    fn is_held_elsewhere(&self, file: &BlobFile) -> bool {
        let holders = metadata::holders(&self.shared.journal().view(), &file.digest);
        let others = self.shared.peers().others(self.shared.options().node);
        holders.is_ok_and(|holders| {
            let is_other = |holder: &u64| others.iter().any(|peer| peer.node.id == *holder);
            holders.iter().any(is_other)
        })
    }
}
