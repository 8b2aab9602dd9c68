//! A blob on its way here from another node.
//!
//! Each extent is held against the checksum that the journal has of it as soon as it
//! is complete, so that a source that sends wrong bytes is known by its first wrong
//! extent and another one goes on from there.
//!
//! Of a large one a record says now and then how far it has come, so that it goes on
//! from there after a restart, too; see `import_record.rs`.

use std::fmt;
use std::sync::Arc;

use super::errors::{SealError, UploadError};
use super::hasher::Hasher;
use super::store::Store;
use super::upload::Upload;
use super::upload_id::UploadId;
use crate::base::limits::{EXTENT_BYTES, IMPORT_KEPT_BYTES};
use crate::base::units::{index_of, to_u64};
use crate::oci::Digest;

/// What is known of a blob before its bytes come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its digest.
    pub digest: Digest,
    /// Generation under which its file will be named.
    pub generation: u64,
    /// Its length, at least one byte.
    pub size_bytes: u64,
    /// CRC32 of each extent of `EXTENT_BYTES`, the last one may be short.
    pub extent_checksums: Arc<[u32]>,
}

impl Expected {
    /// Whether there is a byte to fetch, and a checksum for every extent.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let extents = self.size_bytes.div_ceil(u64::from(EXTENT_BYTES));
        self.size_bytes > 0 && to_u64(self.extent_checksums.len()) == extents
    }
}

/// Why bytes cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The extent that was just completed is not what it should be. It is forgotten;
    /// the import goes on at its first byte, best from another source.
    #[error("extent {index} has other bytes than the journal knows")]
    Corrupt {
        /// Number of the extent, from 0.
        index: u64,
    },
    /// This node cannot write. Nothing is left of the import.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

/// A blob being fetched, on the shard that fetches it. Made by [`Store::import`].
///
/// Fill [`Import::space`], say how much with [`Import::advance`], and end with
/// [`Import::seal`] or [`Import::discard`]. Merely dropped, or after a crash, what its
/// last record speaks of is left of it, and nothing when there is none.
pub struct Import {
    pub(super) upload: Upload,
    pub(super) expected: Expected,
    /// Up to here every extent is right.
    pub(super) verified_bytes: u64,
    /// The hash at `verified_bytes`.
    pub(super) verified: Hasher,
    /// What the record says; 0 while there is none.
    pub(super) recorded_bytes: u64,
}

impl Import {
    /// Begins at the first byte.
    pub(super) fn new(store: &Store, expected: Expected) -> Self {
        assert!(expected.is_consistent(), "every extent has a checksum");
        let algorithm = expected.digest.algorithm();
        Self {
            upload: store.receive_for(None, algorithm),
            expected,
            verified_bytes: 0,
            verified: Hasher::new(algorithm),
            recorded_bytes: 0,
        }
    }

    /// Goes on where an upload stands.
    pub(super) fn resumed(upload: Upload, expected: Expected) -> Self {
        let verified_bytes = upload.held_bytes();
        Self {
            verified: upload.progress.hasher.clone(),
            upload,
            expected,
            verified_bytes,
            recorded_bytes: verified_bytes,
        }
    }

    /// Names the file under construction, for [`Store::following`].
    #[must_use]
    pub const fn id(&self) -> UploadId {
        self.upload.id()
    }

    /// What is known of the blob.
    #[must_use]
    pub const fn expected(&self) -> &Expected {
        &self.expected
    }

    /// Offset of the next byte to take in.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.upload.held_bytes()
    }

    /// Whether every byte came.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.verified_bytes == self.expected.size_bytes
    }

    /// Room for the next bytes: at least one, and no more than the extent lacks.
    ///
    /// - Errors: a write failed; drop the import.
    /// - Panics: when every byte came.
    /// - Cancel: nothing has changed.
    pub async fn space(&mut self) -> Result<&mut [u8], UploadError> {
        let lacking = index_of(self.extent_end() - self.held_bytes());
        assert!(lacking > 0, "there is nothing more to come");
        let space = self.upload.space().await?;
        let count = space.len().min(lacking);
        Ok(space.split_at_mut(count).0)
    }

    /// Takes in the first `count` bytes of the space. The end of an extent is held
    /// against its checksum, and written out at once for whoever reads along.
    ///
    /// - Errors: `Corrupt` has gone back to the start of the extent.
    /// - Cancel: a part of the bytes is taken in; rewind or drop the import.
    pub async fn advance(&mut self, count: usize) -> Result<(), ImportError> {
        let end = self.extent_end();
        self.upload.advance(count).await?;
        if self.held_bytes() < end {
            return Ok(());
        }
        let index = (end - 1) / u64::from(EXTENT_BYTES);
        let wanted = self.expected.extent_checksums.get(index_of(index));
        if wanted != Some(&self.upload.extent_checksum()) {
            self.rewind().await?;
            return Err(ImportError::Corrupt { index });
        }
        if end.is_multiple_of(u64::from(EXTENT_BYTES)) {
            self.upload.flush().await?;
        }
        self.verified_bytes = end;
        self.verified = self.upload.progress.hasher.clone();
        if end - self.recorded_bytes >= IMPORT_KEPT_BYTES && !self.is_whole() {
            self.keep().await?;
        }
        Ok(())
    }

    /// Goes back to the end of the last extent that is right, and lets go of memory:
    /// what another source sends must not be mixed with what came before it, and an
    /// import may wait long for another source.
    ///
    /// - Errors: a write failed; drop the import.
    pub async fn rewind(&mut self) -> Result<(), UploadError> {
        if self.is_whole() {
            return Ok(());
        }
        let hasher = self.verified.clone();
        self.upload.rewind(self.verified_bytes, hasher).await
    }

    /// Bytes that are right and in the file, so that [`Following`](super::Following)
    /// may read them. What is in memory only, as the end of a blob is before it is
    /// sealed, does not count.
    ///
    /// - Errors: a write failed; drop the import.
    pub fn readable_bytes(&mut self) -> Result<u64, UploadError> {
        let written_bytes = self.upload.custody.written_bytes()?;
        Ok(written_bytes.min(self.verified_bytes))
    }

    /// Makes the blob durable under its final name, after its digest was checked.
    ///
    /// - Errors: nothing is left of the import. `DigestMismatch` although every extent
    ///   was right: the checksums are of something else.
    /// - Panics: when bytes are lacking.
    /// - Cancel: goes on to its end without the caller.
    pub async fn seal(self) -> Result<(), SealError> {
        assert!(self.is_whole(), "a blob is sealed whole");
        let Expected {
            digest, generation, ..
        } = self.expected;
        let store = self.upload.store.clone();
        let sealed = self.upload.seal_import(digest, generation).await;
        if self.recorded_bytes > 0 {
            store.forget_import(&digest, generation).await;
        }
        sealed?.commit().await;
        Ok(())
    }

    /// Gives the blob up, and removes what is here of it.
    pub async fn discard(self) {
        let Expected {
            digest, generation, ..
        } = self.expected;
        let store = self.upload.store.clone();
        self.upload.discard().await;
        store.forget_import(&digest, generation).await;
    }

    /// End of the extent under way.
    fn extent_end(&self) -> u64 {
        let next = self.verified_bytes + u64::from(EXTENT_BYTES);
        next.min(self.expected.size_bytes)
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("expected", &self.expected.digest)
            .field("verified_bytes", &self.verified_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "import_test.rs"]
mod tests;
