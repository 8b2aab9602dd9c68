//! Whether the file of a blob is here.

use std::path::Path;

use super::open::Shared;
use super::store::Store;
use crate::disk;
use crate::oci::Digest;
use crate::runtime::off_shard;

impl Store {
    /// What all shards share of the store, to ask for files off the shard.
    #[must_use]
    pub fn presence(&self) -> Shared {
        self.shared().clone()
    }

    /// Length of the file of a sealed blob, when it is here.
    pub async fn sealed_bytes(&self, digest: &Digest, generation: u64) -> Option<u64> {
        let path = self.shared().layout().blob(digest, generation);
        let look = move || {
            std::fs::metadata(path)
                .ok()
                .filter(std::fs::Metadata::is_file)
        };
        let found = off_shard(look).await.ok()?;
        found.map(|file| file.len())
    }

    /// Whether the file of a sealed blob is here, with the right length, and will be
    /// after a power cut: a name that was seen may not be on the disk yet.
    ///
    /// - Errors: the directory cannot be synced.
    pub async fn is_durable(
        &self,
        digest: &Digest,
        generation: u64,
        size_bytes: u64,
    ) -> Result<bool, disk::Error> {
        let (shared, digest) = (self.shared().clone(), *digest);
        let look = move || shared.is_present(&digest, generation, size_bytes);
        if off_shard(look).await != Ok(true) {
            return Ok(false);
        }
        let path = self.shared().layout().blob(&digest, generation);
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        self.directories().sync(directory).await?;
        Ok(true)
    }
}
