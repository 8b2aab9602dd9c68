//! A session in the hands of one request: bytes come in, are hashed and written.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use super::custody::Custody;
use super::errors::UploadError;
use super::growth::Growth;
use super::hasher::Hasher;
use super::kernel_boot::KernelBoot;
use super::progress::Progress;
use super::record::{Record, tail_start};
use super::store::Store;
use super::table::Return;
use super::tap::Tap;
use super::upload_id::UploadId;
use crate::base::limits::{BLOB_BYTES_MAX, HASH_STEP_BYTES, IMPORT_MOVES_MAX, IN_FLIGHT_MOVES_MAX};
use crate::base::units::{index_of, to_u64, to_usize};
use crate::disk::WriteFile;
use crate::memory::Buffer;
use crate::oci::{Algorithm, Repository};
use crate::runtime::{spawn, yield_if_needed};
use crate::telemetry::UploadEnd;

/// An upload under way, on the shard of the request that drives it.
///
/// Fill [`Upload::space`], say how much with [`Upload::advance`], and end with
/// [`Upload::suspend`] (more requests follow), [`Upload::seal`] (that was all) or
/// [`Upload::abort`]. A client that breaks off in mid-body is suspended too: then
/// the bytes that came are kept. Merely dropped, the session falls back to what was
/// acknowledged last.
///
/// Owned by the shard that resumed it. Made by [`Store::resume`] and
/// [`Store::receive`]. After a crash the session stands as its record says.
pub struct Upload {
    pub(super) store: Store,
    pub(super) id: UploadId,
    /// `None` for bytes that come from another node.
    repository: Option<Repository>,
    pub(super) custody: Custody,
    /// What the session was when it was taken up; `None` when it was empty.
    pub(super) record: Option<Box<Record>>,
    pub(super) progress: Progress,
    /// The kernel boot in which the first bytes came.
    pub(super) kernel_boot: KernelBoot,
    /// The record's tail, until the first buffer takes it.
    pub(super) tail: Vec<u8>,
    pub(super) buffer: Option<Buffer>,
    /// Bytes of the buffer that are taken.
    pub(super) filled: usize,
    pub(super) file: Option<Rc<WriteFile>>,
    /// Whether this request has opened the data file.
    has_file: bool,
    /// Where the bytes go besides the file.
    pub(super) tap: Option<Tap>,
    growth: Growth,
    /// When the buffer was taken.
    filling_since: Instant,
}

impl Upload {
    pub(super) fn new(
        store: Store,
        id: UploadId,
        repository: Option<Repository>,
        custody: Custody,
        progress: Progress,
    ) -> Self {
        let filling_since = store.clock().now();
        let kernel_boot = store.shared().kernel_boot();
        Self {
            store,
            id,
            repository,
            custody,
            record: None,
            progress,
            kernel_boot,
            tail: Vec::new(),
            buffer: None,
            filled: 0,
            file: None,
            has_file: false,
            tap: None,
            growth: Growth::new(),
            filling_since,
        }
    }

    /// Goes on where a record stopped.
    pub(super) fn with_record(mut self, mut record: Box<Record>) -> Self {
        self.progress = record.progress.clone();
        self.tail.clone_from(&record.tail);
        self.kernel_boot = record.kernel_boot;
        record.sealing = None;
        self.record = Some(record);
        self
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> UploadId {
        self.id
    }

    /// Bytes of the session so far, all requests together: the offset at which the
    /// next chunk must start.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.progress.held_bytes
    }

    /// How the bytes are hashed while they come.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.progress.hasher.algorithm()
    }

    /// From now on the bytes go through `tap` too.
    ///
    /// - Panics: when there are bytes already.
    pub fn tap(&mut self, tap: Tap) {
        assert!(self.held_bytes() == 0, "a tap hears everything");
        self.tap = Some(tap);
    }

    /// Room for the next bytes, at least one: aligned memory to receive into.
    /// Waits for memory while the shard's pool is used up, and for the disk while
    /// it is slower than the client.
    ///
    /// - Errors: a write failed; the session is what it was when it was resumed.
    /// - Cancel: nothing has changed.
    pub async fn space(&mut self) -> Result<&mut [u8], UploadError> {
        if self
            .buffer
            .as_ref()
            .is_some_and(|one| self.filled == one.len())
        {
            self.write_out(self.filled).await?;
        }
        if self.buffer.is_none() {
            self.take_buffer().await;
        }
        let room = self
            .buffer
            .as_mut()
            .and_then(|one| one.get_mut(self.filled..));
        Ok(room.expect("invariant: a buffer was taken and is not full"))
    }

    /// Takes in the first `count` bytes of the space: hashes them, and starts
    /// writing when the buffer is full.
    ///
    /// - Errors: as [`Upload::space`]; `TooLarge` above `BLOB_BYTES_MAX`.
    /// - Panics: when `count` is more than the space.
    /// - Cancel: a part of the bytes is taken in; suspend, abort or drop the upload.
    pub async fn advance(&mut self, count: usize) -> Result<(), UploadError> {
        if self.held_bytes() + to_u64(count) > BLOB_BYTES_MAX {
            return Err(UploadError::TooLarge {
                held_bytes: self.held_bytes(),
            });
        }
        let end = self.filled + count;
        while self.filled < end {
            let step_end = end.min(self.filled + to_usize(HASH_STEP_BYTES));
            let step = self
                .buffer
                .as_ref()
                .and_then(|one| one.get(self.filled..step_end));
            let step = step.expect("caller: advance by no more than the space");
            self.progress.absorb(step);
            self.filled = step_end;
            yield_if_needed().await;
        }
        if self.repository.is_some() {
            self.store.count_received(to_u64(count));
        }
        if self
            .buffer
            .as_ref()
            .is_some_and(|one| self.filled == one.len())
        {
            self.write_out(self.filled).await?;
        }
        Ok(())
    }

    /// Ends a request whose session goes on: afterwards everything held survives a
    /// killed process. Returns the held bytes, which may now be acknowledged.
    ///
    /// Without a session (see [`Store::receive`]) this is [`Upload::abort`].
    ///
    /// - Errors: a write failed; the session is what it was when it was resumed.
    /// - Cancel: goes on to its end without the caller.
    pub async fn suspend(self) -> Result<u64, UploadError> {
        let done = spawn(self.put_down()).detach();
        done.await?
    }

    /// Ends the session and removes its files.
    ///
    /// - Cancel: goes on to its end without the caller.
    pub async fn abort(self) {
        let ended = &self.store.metrics().blob.uploads_ended;
        ended.of(UploadEnd::Aborted).count();
        self.discard().await;
    }

    /// Ends the session and removes its files, for whatever reason.
    pub(super) async fn discard(mut self) {
        self.custody.will(Return::Ended, self.own_files());
        self.file = None;
        self.custody.close().await;
    }

    async fn put_down(mut self) -> Result<u64, UploadError> {
        let held_bytes = self.held_bytes();
        let has_news = self.custody.has_session() && held_bytes != self.custody.recorded_bytes();
        let Some(repository) = self.repository.take().filter(|_| has_news) else {
            self.custody.close().await;
            return Ok(held_bytes);
        };
        let base_bytes = self.base_bytes();
        let keep = index_of(tail_start(held_bytes) - base_bytes);
        let taken = self
            .buffer
            .as_ref()
            .and_then(|one| one.get(keep..self.filled));
        let tail = taken.unwrap_or_default().to_vec();
        if keep > 0 {
            self.write_out(keep).await?;
        }
        self.custody.wait_below(1).await?;
        self.buffer = None;
        let record = Record {
            id: self.id,
            repository,
            touched_ms: self.store.clock().unix_ms(),
            kernel_boot: self.kernel_boot,
            progress: self.progress.clone(),
            tail,
            sealing: None,
        };
        self.store.write_record(&record).await?;
        if let Some(tap) = self.tap.take() {
            self.store.rest_tap(self.id, tap);
        }
        self.custody.will(Return::Held(held_bytes), Vec::new());
        self.custody.close().await;
        Ok(held_bytes)
    }

    /// Offset of the buffer's first byte in the blob, a whole sector.
    pub(super) fn base_bytes(&self) -> u64 {
        self.held_bytes() - to_u64(self.filled) - to_u64(self.tail.len())
    }

    /// Starts writing the first `bytes` of the buffer, whole sectors, and lets go
    /// of the buffer. When as many writes as may be are under way, waits for one.
    pub(super) async fn write_out(&mut self, bytes: usize) -> Result<(), UploadError> {
        let filled_in = self.store.clock().now() - self.filling_since;
        let offset_bytes = self.base_bytes();
        let file = self.open_file(offset_bytes).await?;
        self.custody.wait_below(self.moves_max()).await?;
        let Some(buffer) = self.buffer.take() else {
            return Ok(());
        };
        self.growth.learn(filled_in);
        let taken = bytes.min(std::mem::take(&mut self.filled));
        let buffer = buffer.share(bytes);
        let write = file.write_at(buffer.clone(), offset_bytes);
        self.custody.add(write, offset_bytes + to_u64(bytes));
        if let Some(tap) = &mut self.tap {
            let clock = self.store.clock();
            tap.put(&buffer, taken, offset_bytes, clock).await;
        }
        Ok(())
    }

    /// Starts writing what is in memory, whole sectors.
    pub(super) async fn flush(&mut self) -> Result<(), UploadError> {
        if self.filled == 0 {
            return Ok(());
        }
        self.write_out(self.filled).await
    }

    /// Goes back to where `held_bytes` were held and the hash was `hasher`, the end of
    /// an extent that was flushed, when nothing is being written any more.
    pub(super) async fn rewind(
        &mut self,
        held_bytes: u64,
        hasher: Hasher,
    ) -> Result<(), UploadError> {
        self.custody.wait_below(1).await?;
        self.custody.rewind(held_bytes);
        self.buffer = None;
        self.filled = 0;
        self.progress.rewind(held_bytes, hasher);
        Ok(())
    }

    /// CRC32 of the extent that ends at the bytes held.
    pub(super) fn extent_checksum(&self) -> u32 {
        self.progress.extents.last()
    }

    /// Writes under way at a time.
    const fn moves_max(&self) -> usize {
        match self.repository {
            Some(_) => IN_FLIGHT_MOVES_MAX,
            None => IMPORT_MOVES_MAX,
        }
    }

    /// Makes sure there is a buffer, with the record's tail at its head.
    pub(super) async fn take_buffer(&mut self) {
        let mut buffer = self.store.pool().acquire(self.growth.bytes()).await;
        let head = buffer.get_mut(..self.tail.len());
        head.expect("invariant: a tail fits the smallest buffer")
            .copy_from_slice(&self.tail);
        self.filled = self.tail.len();
        self.tail = Vec::new();
        self.filling_since = self.store.clock().now();
        self.buffer = Some(buffer);
    }

    /// The data file. A session without bytes in it begins a new one, so that
    /// nothing is left of a request that was never acknowledged.
    pub(super) async fn open_file(
        &mut self,
        offset_bytes: u64,
    ) -> Result<Rc<WriteFile>, UploadError> {
        if let Some(file) = &self.file {
            return Ok(Rc::clone(file));
        }
        let path = self.data_path();
        let file = if offset_bytes == 0 {
            // Until a record speaks of the file, it goes when this upload is dropped.
            self.custody.will(Return::Unchanged, vec![path.clone()]);
            WriteFile::create(&path).await?
        } else {
            WriteFile::open(&path).await?
        };
        let file = Rc::new(file);
        self.has_file = true;
        self.file = Some(Rc::clone(&file));
        Ok(file)
    }

    pub(super) fn data_path(&self) -> PathBuf {
        self.store.shared().layout().upload_data(&self.id)
    }

    pub(super) fn record_path(&self) -> PathBuf {
        self.store.shared().layout().upload_session(&self.id)
    }

    /// The files this session may have. The record first: bytes without a record
    /// are known to be a leftover.
    pub(super) fn own_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if self.record.is_some() {
            files.push(self.record_path());
        }
        let has_data = self.record.as_ref().is_some_and(|one| one.data_bytes() > 0);
        if has_data || self.has_file {
            files.push(self.data_path());
        }
        files
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("id", &self.id)
            .field("held_bytes", &self.held_bytes())
            .field("writes", &self.custody.writes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "upload_test.rs"]
mod tests;
