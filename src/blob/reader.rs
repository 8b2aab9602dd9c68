//! Reads a sealed blob the cheapest way that never makes the shard wait.
//!
//! | the next window of 1 MiB is | then |
//! |---|---|
//! | in the page cache | named, so that the caller sends it without a copy |
//! | of a small blob, not cached | read through the page cache: it is asked for again soon |
//! | of a blob in demand, not cached | brought into the page cache off the shard, one window ahead |
//! | else | read directly, a few reads ahead, past the page cache |

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::direct::Direct;
use super::errors::ReadError;
use super::store::Store;
use crate::base::limits::{IN_FLIGHT_MOVES_MAX, MOVE_BYTES_MAX, MOVE_BYTES_MIN};
use crate::base::units::{MIB, index_of, to_u32, to_u64};
use crate::disk::{self, CachedFile, ReadFile};
use crate::memory::Buffer;
use crate::oci::Digest;
use crate::runtime::{Task, spawn_bulk};
use crate::telemetry::ReadPath;

/// Unit of the decision how to read.
const WINDOW_BYTES: u32 = MIB;
/// A blob up to this size is read in one piece, and kept in the page cache.
const SMALL_BYTES_MAX: u32 = MOVE_BYTES_MIN;

/// The next bytes of a blob.
#[derive(Debug)]
pub enum Piece {
    /// They are in the page cache: send them from the file. Advice; a page that was
    /// evicted meanwhile makes the send wait once.
    Resident {
        /// The blob's file.
        file: Rc<CachedFile>,
        /// Where the bytes start in it.
        offset: u64,
        /// How many they are.
        bytes: u64,
    },
    /// They are in pooled memory: write them soon, or give them back and
    /// [`Reader::rewind`].
    Memory(Chunk),
}

/// Bytes in pooled memory.
#[derive(Debug)]
pub struct Chunk(Memory);

#[derive(Debug)]
enum Memory {
    Read(disk::Piece),
    Copied(Buffer, usize),
}

impl Chunk {
    /// Bytes that were read from a file.
    pub(super) const fn of_read(piece: disk::Piece) -> Self {
        Self(Memory::Read(piece))
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Read(piece) => piece,
            Memory::Copied(buffer, length) => buffer.get(..*length).unwrap_or_default(),
        }
    }
}

/// Reads one blob, front to back, from any start. Owned by the shard of the
/// request that opened it with [`Store::reader`]. An unlink does not disturb it.
pub struct Reader {
    store: Store,
    path: PathBuf,
    size_bytes: u64,
    file: Rc<CachedFile>,
    is_popular: bool,
    /// Direct reads ahead of the caller.
    moves_ahead: usize,
    /// First byte not given out yet.
    cursor: u64,
    end: u64,
    /// Opened when first needed; does not share its descriptor with `file`.
    direct: Option<Direct>,
    /// Up to here direct reads may run ahead.
    cold_end: u64,
    /// Start of the window that is being brought into the page cache.
    warming: Option<(u64, Task<Result<(), disk::Error>>)>,
}

impl Store {
    /// A copy of bytes that came from elsewhere, in pooled memory; of the first of them
    /// when they are many.
    pub async fn chunk(&self, bytes: &[u8]) -> Chunk {
        let count = bytes.len().min(index_of(u64::from(MOVE_BYTES_MIN)));
        let mut buffer = self.pool().acquire(to_u32(count)).await;
        let (first, _) = bytes.split_at(count);
        if let Some(room) = buffer.get_mut(..count) {
            room.copy_from_slice(first);
        }
        Chunk(Memory::Copied(buffer, count))
    }

    /// Opens a sealed blob for reading, from start to end.
    ///
    /// - Errors: `Missing` when there is no such file, `TooShort` when it lacks bytes.
    pub async fn reader(
        &self,
        digest: &Digest,
        generation: u64,
        size_bytes: u64,
    ) -> Result<Reader, ReadError> {
        let path = self.shared().layout().blob(digest, generation);
        let file = CachedFile::open(&path).await?;
        let file_bytes = file.length_bytes()?;
        // A send of pages that are not there would be noticed too late.
        if file_bytes < size_bytes {
            self.metrics().blob.read_failures.count();
            return Err(ReadError::TooShort {
                size_bytes,
                file_bytes,
            });
        }
        Ok(Reader {
            store: self.clone(),
            path,
            size_bytes,
            file: Rc::new(file),
            is_popular: self.is_popular(digest),
            moves_ahead: IN_FLIGHT_MOVES_MAX,
            cursor: 0,
            end: size_bytes,
            direct: None,
            cold_end: 0,
            warming: None,
        })
    }
}

impl Reader {
    /// The file it reads.
    pub(super) const fn file(&self) -> &Rc<CachedFile> {
        &self.file
    }

    /// Length of the blob.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads only the bytes from `start` up to `end`, which is not included.
    ///
    /// - Panics: when the range is not within the blob.
    pub fn range(&mut self, start: u64, end: u64) {
        assert!(
            start <= end && end <= self.size_bytes,
            "{start}..{end} of {}",
            self.size_bytes
        );
        self.end = end;
        self.rewind(start);
    }

    /// Reads directly no further ahead than `moves` of `MOVE_BYTES_MAX`, rounded up to
    /// a window: for whoever must leave memory to others.
    pub fn read_ahead(&mut self, moves: usize) {
        self.moves_ahead = moves;
    }

    /// Goes on at `offset` instead: for a piece that was given back unsent. Memory
    /// that was filled ahead goes back to the pool.
    ///
    /// - Panics: when `offset` is beyond the end.
    pub fn rewind(&mut self, offset: u64) {
        assert!(offset <= self.end, "{offset} of {}", self.end);
        self.cursor = offset;
        self.cold_end = 0;
        if let Some(direct) = &mut self.direct {
            direct.seek(offset);
        }
    }

    /// The next bytes, or `None` at the end.
    ///
    /// - Errors: the file cannot be read, or is shorter than the blob.
    /// - Cancel: the bytes stay next.
    pub async fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        let outcome = self.read().await;
        if outcome.is_err() {
            self.store.metrics().blob.read_failures.count();
        }
        outcome
    }

    async fn read(&mut self) -> Result<Option<Piece>, ReadError> {
        if self.cursor >= self.end {
            return Ok(None);
        }
        if self
            .direct
            .as_ref()
            .is_some_and(|direct| direct.ahead() > 0)
        {
            return self.next_direct().await.map(Some);
        }
        let window_end = window_end(self.cursor).min(self.end);
        let window_bytes = window_end - self.cursor;
        if self.size_bytes <= u64::from(SMALL_BYTES_MAX) {
            return self
                .next_small(to_u32(index_of(window_bytes)))
                .await
                .map(Some);
        }
        let is_warming = self.warming.is_some();
        if !is_warming && self.file.is_resident(self.cursor, window_bytes) {
            return Ok(Some(self.resident(window_end)));
        }
        if self.warm(window_end).await {
            return Ok(Some(self.resident(window_end)));
        }
        self.next_direct().await.map(Some)
    }

    fn resident(&mut self, window_end: u64) -> Piece {
        let (offset, bytes) = (self.cursor, window_end - self.cursor);
        self.cursor = window_end;
        self.count(ReadPath::Resident, bytes);
        Piece::Resident {
            file: Rc::clone(&self.file),
            offset,
            bytes,
        }
    }

    /// Whole small blobs, copied: cheaper than a send of their own, and they go out
    /// in one write with their head.
    async fn next_small(&mut self, bytes: u32) -> Result<Piece, ReadError> {
        let wanted = crate::base::units::to_usize(bytes);
        let mut buffer = self.store.pool().acquire(bytes).await;
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        let memory = if self.file.read_now(room, self.cursor) == Some(wanted) {
            self.count(ReadPath::Copied, u64::from(bytes));
            Memory::Copied(buffer, wanted)
        } else {
            drop(buffer);
            let permit = self.store.pool().reserve(bytes).await;
            let piece = self.file.read_buffered(self.cursor, bytes, permit).await?;
            self.count(ReadPath::Copied, to_u64(piece.len()));
            Memory::Read(piece)
        };
        self.give(memory)
    }

    async fn next_direct(&mut self) -> Result<Piece, ReadError> {
        if self.direct.is_none() {
            // By number: the path may have been unlinked since the blob was opened.
            let path = format!("/proc/self/fd/{}", self.file.as_fd().as_raw_fd());
            let file = ReadFile::open_direct(Path::new(&path), self.size_bytes).await?;
            self.direct = Some(Direct::new(file, self.store.pool().clone(), self.cursor));
        }
        self.look_ahead();
        let Some(direct) = &mut self.direct else {
            return Err(ReadError::Missing);
        };
        if direct.ahead() == 0 {
            direct.seek(self.cursor);
        }
        let piece = direct.next(self.cold_end, self.cold_end).await?;
        self.count(ReadPath::Direct, to_u64(piece.len()));
        self.give(Memory::Read(piece))
    }

    /// Moves `cold_end` on, window by window, as far as reads may run ahead and no
    /// further than the next window that the page cache holds.
    fn look_ahead(&mut self) {
        let reach_bytes = u64::from(MOVE_BYTES_MAX) * to_u64(self.moves_ahead);
        let reach = self.end.min(self.cursor + reach_bytes);
        if self.cold_end <= self.cursor {
            self.cold_end = window_end(self.cursor).min(self.end);
        }
        while self.cold_end < reach {
            let next_end = window_end(self.cold_end).min(self.end);
            if self
                .file
                .is_resident(self.cold_end, next_end - self.cold_end)
            {
                break;
            }
            self.cold_end = next_end;
        }
    }

    /// Brings the window at the cursor into the page cache, and starts on the one
    /// after it, whether or not that looks resident: a page that is only on its way
    /// counts as resident, and the send would wait for it. `false` when the blob is
    /// not in demand, or that failed.
    async fn warm(&mut self, window_end: u64) -> bool {
        if !self.is_popular {
            return false;
        }
        let begun = self
            .warming
            .take()
            .filter(|(start, _)| *start == self.cursor);
        let (_, task) = begun.unwrap_or_else(|| self.start_warming(self.cursor, window_end));
        self.warming = Some((self.cursor, task));
        let outcome = match &mut self.warming {
            Some((_, task)) => task.await,
            None => return false,
        };
        self.warming = None;
        // The direct read that follows a failure says what is wrong.
        self.is_popular = matches!(outcome, Ok(Ok(())));
        if self.is_popular && window_end < self.end {
            let next_end = self::window_end(window_end).min(self.end);
            self.warming = Some(self.start_warming(window_end, next_end));
        }
        self.is_popular
    }

    fn start_warming(&self, start: u64, end: u64) -> (u64, Task<Result<(), disk::Error>>) {
        let file = Rc::clone(&self.file);
        self.store.metrics().blob.warmed_bytes.add(end - start);
        let task = spawn_bulk(async move { file.warm(start, end - start).await });
        (start, task)
    }

    fn give(&mut self, memory: Memory) -> Result<Piece, ReadError> {
        let chunk = Chunk(memory);
        if chunk.is_empty() {
            return Err(ReadError::TooShort {
                size_bytes: self.size_bytes,
                file_bytes: self.cursor,
            });
        }
        self.cursor += to_u64(chunk.len());
        Ok(Piece::Memory(chunk))
    }

    fn count(&self, path: ReadPath, bytes: u64) {
        self.store.metrics().blob.read_bytes.of(path).add(bytes);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.path)
            .field("cursor", &self.cursor)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// End of the window that `offset` lies in.
const fn window_end(offset: u64) -> u64 {
    (offset / WINDOW_BYTES as u64 + 1) * WINDOW_BYTES as u64
}

#[cfg(test)]
#[path = "reader_test.rs"]
mod tests;
