//! The end of an upload: its digest is checked, and its bytes become a blob.
//!
//! The digest is the one that was computed while the bytes passed. They are read
//! back only when the close names another algorithm, or when the machine went down
//! in between and may have lost some that were never synced.
//!
//! The order is what a crash may interrupt anywhere: write the rest, cut the
//! padding off, sync the data, note in the session's record what it is about to
//! become, rename, sync the directory. Only then the caller proposes the blob, and
//! only after that is committed the session is closed.

use bytes::Bytes;

use super::custody::Custody;
use super::direct::Direct;
use super::errors::{SealError, UploadError};
use super::hasher::Hasher;
use super::import::Expected;
use super::table::Return;
use super::tap::{Outlet, Tap};
use super::upload::Upload;
use crate::base::limits::{HASH_STEP_BYTES, INLINE_BLOB_BYTES_MAX};
use crate::base::units::{index_of, sector_ceil, to_u64, to_usize};
use crate::disk::ReadFile;
use crate::oci::{Algorithm, Digest};
use crate::runtime::{spawn, yield_if_needed};
use crate::telemetry::{BlobForm, SyncedThing, UploadEnd};

/// A blob whose digest was checked and whose bytes are safe, not yet known to
/// anybody. Propose it, then call [`Sealed::commit`].
///
/// Dropped instead (the proposal failed): an inline blob's session goes back to
/// what was acknowledged; a file stays under its final name, where the next seal of
/// the same content finds its place taken and takes it over, and the session ends.
#[must_use = "propose the blob, then commit"]
#[derive(Debug)]
pub struct Sealed {
    /// The digest that was declared and checked.
    pub digest: Digest,
    /// Length of the blob.
    pub size_bytes: u64,
    /// Generation under which its file is named.
    pub generation: u64,
    /// CRC32 of each extent of `EXTENT_BYTES`, the last one may be short.
    pub extent_checksums: Vec<u32>,
    /// The content, when it is small enough to live in the metadata; then there is
    /// no file.
    pub inline: Option<Bytes>,
    /// Those to whom every byte went while it came, and its end.
    pub outlets: Vec<Outlet>,
    closing: Closing,
}

#[derive(Debug)]
struct Closing {
    custody: Custody,
    scraps: Vec<std::path::PathBuf>,
}

impl Sealed {
    /// Closes the session, after the blob was committed.
    ///
    /// - Cancel: goes on to its end without the caller.
    pub async fn commit(self) {
        let Closing {
            mut custody,
            scraps,
        } = self.closing;
        custody.will(Return::Ended, scraps);
        custody.close().await;
    }
}

impl Upload {
    /// Ends the upload: everything came, and it should be `declared`. The blob is
    /// durable when this returns, as a file of `generation` or as bytes that the
    /// caller proposes with it (up to `INLINE_BLOB_BYTES_MAX`).
    ///
    /// - Errors: `DigestMismatch`, `Sync` and `ReadBack` end the session; after the
    ///   others it is what it was when it was resumed.
    /// - Cancel: goes on to its end without the caller, as when [`Sealed`] is dropped.
    pub async fn seal(mut self, declared: &Digest, generation: u64) -> Result<Sealed, SealError> {
        let declared = *declared;
        // An upload with a hole is refused before its digest is held against it.
        self.custody.wait_below(usize::MAX).await?;
        let (store, started) = (self.store.clone(), self.store.clock().now());
        let outcome = if self.held_bytes() <= u64::from(INLINE_BLOB_BYTES_MAX) {
            Box::pin(self.seal_inline(declared, generation)).await
        } else {
            let done = spawn(self.seal_file(declared, generation)).detach();
            done.await.map_err(UploadError::from)?
        };
        let metrics = &store.metrics().blob;
        match &outcome {
            Ok(sealed) => {
                let form = match sealed.inline {
                    Some(_) => BlobForm::Inline,
                    None => BlobForm::File,
                };
                metrics.commits.of(form).count();
                metrics
                    .commit_seconds
                    .observe(store.clock().now() - started);
                metrics.uploads_ended.of(UploadEnd::Sealed).count();
            }
            Err(SealError::DigestMismatch { .. }) => {
                metrics.uploads_ended.of(UploadEnd::Mismatched).count();
            }
            Err(_) => metrics.uploads_ended.of(UploadEnd::Failed).count(),
        }
        outcome
    }

    /// As [`Upload::seal`], for bytes that another node sends and that are `expected`
    /// ([`Upload::is`]). The blob is durable, and nobody need know, when this returns.
    ///
    /// - Errors: nothing is left of them.
    /// - Cancel: goes on to its end without the caller.
    pub async fn seal_taken(self, expected: &Expected) -> Result<(), SealError> {
        let sealing = self.seal_import(expected.digest, expected.generation);
        sealing.await?.commit().await;
        Ok(())
    }

    /// As [`Upload::seal`], for bytes from another node: always a file, and counted by
    /// whoever fetched it.
    pub(super) async fn seal_import(
        mut self,
        declared: Digest,
        generation: u64,
    ) -> Result<Sealed, SealError> {
        self.custody.wait_below(usize::MAX).await?;
        let done = spawn(self.seal_file(declared, generation)).detach();
        done.await.map_err(UploadError::from)?
    }

    async fn seal_inline(self, declared: Digest, generation: u64) -> Result<Sealed, SealError> {
        let held = self.buffer.as_ref().and_then(|one| one.get(..self.filled));
        let content = held.unwrap_or(&self.tail);
        let actual = if self.algorithm() == declared.algorithm() {
            self.progress.digest()
        } else {
            Digest::of(declared.algorithm(), content)
        };
        let content = Bytes::copy_from_slice(content);
        if actual != declared {
            self.discard().await;
            return Err(SealError::DigestMismatch { declared, actual });
        }
        let scraps = self.own_files();
        Ok(Sealed {
            digest: declared,
            size_bytes: self.progress.held_bytes,
            generation,
            extent_checksums: self.progress.extents.finish(),
            inline: Some(content),
            outlets: Vec::new(),
            closing: Closing {
                custody: self.custody,
                scraps,
            },
        })
    }

    async fn seal_file(mut self, declared: Digest, generation: u64) -> Result<Sealed, SealError> {
        let size_bytes = self.held_bytes();
        if self.algorithm() == declared.algorithm() {
            let actual = self.progress.digest();
            if actual != declared {
                self.discard().await;
                return Err(SealError::DigestMismatch { declared, actual });
            }
        }
        self.write_rest().await?;
        let is_certain = self.kernel_boot == self.store.shared().kernel_boot();
        let is_checked = is_certain && self.algorithm() == declared.algorithm();
        if is_checked {
            // Others make it durable at the same time.
            self.tell_end(&declared, generation).await;
        }
        self.settle().await?;
        if !is_checked {
            match self.read_back(declared.algorithm()).await {
                Ok(actual) if actual == declared => {}
                Ok(actual) => {
                    self.discard().await;
                    return Err(SealError::DigestMismatch { declared, actual });
                }
                Err(error) => {
                    self.discard().await;
                    return Err(error);
                }
            }
            self.tell_end(&declared, generation).await;
        }
        if let Err(error) = self.make_durable(&declared, generation).await {
            if matches!(error, SealError::Sync { .. }) {
                self.discard().await;
            }
            return Err(error);
        }
        let scraps: Vec<_> = self.record.iter().map(|_| self.record_path()).collect();
        // From here on the bytes belong to the blob, whatever becomes of the proposal.
        self.custody.will(Return::Ended, scraps.clone());
        Ok(Sealed {
            digest: declared,
            size_bytes,
            generation,
            extent_checksums: self.progress.extents.finish(),
            inline: None,
            outlets: self.tap.map_or_else(Vec::new, Tap::into_outlets),
            closing: Closing {
                custody: self.custody,
                scraps,
            },
        })
    }

    /// Starts writing what is in memory, padded to a whole sector.
    async fn write_rest(&mut self) -> Result<(), UploadError> {
        if !self.tail.is_empty() {
            self.take_buffer().await;
        }
        if self.filled > 0 {
            let padded = index_of(sector_ceil(to_u64(self.filled)));
            let padding = self
                .buffer
                .as_mut()
                .and_then(|one| one.get_mut(self.filled..padded));
            padding
                .expect("invariant: buffers are whole sectors")
                .fill(0);
            self.write_out(padded).await?;
        }
        Ok(())
    }

    /// Tells whoever listens what it was all about.
    async fn tell_end(&mut self, digest: &Digest, generation: u64) {
        let Some(tap) = &mut self.tap else {
            return;
        };
        let expected = Expected {
            digest: *digest,
            generation,
            size_bytes: self.progress.held_bytes,
            extent_checksums: self.progress.extents.clone().finish().into(),
        };
        tap.end(&expected, self.store.clock()).await;
    }

    /// Waits for all writes.
    async fn settle(&mut self) -> Result<(), UploadError> {
        self.custody.wait_below(1).await?;
        self.buffer = None;
        // A session whose bytes all came with earlier requests has no file open yet.
        self.open_file(self.progress.held_bytes).await?;
        Ok(())
    }

    /// Hashes the written bytes once more, in an algorithm that only the close
    /// named, or because the machine went down since some of them were written, and
    /// holds them against the checksums of what came in.
    async fn read_back(&self, algorithm: Algorithm) -> Result<Digest, SealError> {
        let size_bytes = self.progress.held_bytes;
        let file = ReadFile::open_direct(&self.data_path(), size_bytes).await?;
        let mut direct = Direct::new(file, self.store.pool().clone(), 0);
        let mut hasher = Hasher::new(algorithm);
        let mut extents = super::extents::ExtentChecksums::default();
        let mut read_bytes = 0;
        while read_bytes < size_bytes {
            let piece = direct.next(size_bytes, size_bytes).await?;
            for step in piece.chunks(to_usize(HASH_STEP_BYTES)) {
                hasher.update(step);
                extents.update(step);
                yield_if_needed().await;
            }
            read_bytes += to_u64(piece.len());
        }
        if extents.finish() != self.progress.extents.clone().finish() {
            return Err(SealError::ReadBack { size_bytes });
        }
        Ok(hasher.finish())
    }

    /// Cut, sync, note, rename, sync the directory.
    async fn make_durable(&mut self, digest: &Digest, generation: u64) -> Result<(), SealError> {
        let size_bytes = self.progress.held_bytes;
        let synced = |source| SealError::Sync { size_bytes, source };
        let file = self.file.take();
        let file = file.expect("invariant: write_rest has opened the file");
        file.truncate(size_bytes).await?;
        let before = self.store.clock().now();
        file.sync_data().await.map_err(synced)?;
        let metrics = self.store.metrics();
        let took = self.store.clock().now() - before;
        metrics
            .machine
            .sync_seconds
            .of(SyncedThing::File)
            .observe(took);
        drop(file);
        if let Some(mut record) = self.record.take() {
            record.sealing = Some((*digest, generation));
            self.store.write_record(&record).await?;
            self.record = Some(record);
        }
        let data = self.data_path();
        let blob = self.store.shared().layout().blob(digest, generation);
        let renamed = self.store.directories().rename_and_sync(&data, &blob);
        renamed.await.map_err(synced)
    }

    /// Whether exactly this came.
    #[must_use]
    pub fn is(&self, expected: &Expected) -> bool {
        let progress = &self.progress;
        progress.held_bytes == expected.size_bytes
            && progress.extents.clone().finish() == *expected.extent_checksums
    }
}
