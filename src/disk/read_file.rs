//! A file read directly, past the page cache.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::io::{BufferedFile, ReadResult};
use rustix::fs::OFlags;

use super::error::Error;
use super::open::open;
use super::pending::Pending;
use super::ring_file::ring_file;
use crate::base::units::{index_of, sector_ceil, sector_floor};
use crate::memory::Permit;

/// Reads sealed content from the device. Cheap to clone; stays on its shard.
///
/// Not glommio's own direct file: that one panics when the file is unlinked while it
/// opens, returns bytes beyond the end of the file, and polls devices that cannot be
/// polled.
#[derive(Debug, Clone)]
pub struct ReadFile {
    file: Rc<BufferedFile>,
    path: Rc<PathBuf>,
    size_bytes: u64,
}

/// Bytes read, with the memory they are in and its share of the pool.
pub struct Piece {
    memory: ReadResult,
    start: usize,
    end: usize,
    _permit: Permit,
}

/// Bytes that a read of `bytes` at `offset` moves: the sectors it touches. This is
/// what to reserve in the pool; at most `bytes` and two sectors.
#[must_use]
pub fn read_span_bytes(offset: u64, bytes: u32) -> u64 {
    sector_ceil(offset + u64::from(bytes)) - sector_floor(offset)
}

impl ReadFile {
    /// Opens a file of known size.
    pub async fn open_direct(path: &Path, size_bytes: u64) -> Result<Self, Error> {
        let file = open(path, OFlags::RDONLY | OFlags::DIRECT).await?;
        Ok(Self {
            file: Rc::new(ring_file(file)),
            path: Rc::new(path.to_owned()),
            size_bytes,
        })
    }

    /// The size it was opened with.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads `bytes` at `offset`, any offset, cut at the size. Begins at once.
    ///
    /// - Shape: `offset` inside of the file; `permit` for [`read_span_bytes`].
    /// - Errors: also when the file is shorter than its size.
    pub fn read_at(&self, offset: u64, bytes: u32, permit: Permit) -> Pending<Piece> {
        assert!(offset < self.size_bytes, "a read begins inside of the file");
        assert!(bytes > 0, "a read wants something");
        let end = self.size_bytes.min(offset + u64::from(bytes));
        let start = sector_floor(offset);
        let span = index_of(sector_ceil(end) - start);
        assert!(
            u64::try_from(span).is_ok_and(|span| span <= permit.bytes()),
            "the permit covers the sectors touched"
        );
        let (file, path) = (Rc::clone(&self.file), Rc::clone(&self.path));
        Pending::start("read", self.path.as_ref().clone(), async move {
            let read = file.read_at(start, span).await;
            let memory = read.map_err(|source| Error::of_runtime("read", &path, source))?;
            Piece::cut(
                memory,
                index_of(offset - start),
                index_of(end - start),
                permit,
            )
            .ok_or_else(|| {
                Error::new(
                    "read all of",
                    &path,
                    io::Error::from(io::ErrorKind::UnexpectedEof),
                )
            })
        })
    }
}

impl Piece {
    /// The bytes from `start` to `end` of what was read, when so much was read. What
    /// lies beyond is the tail of the last sector, and never shown.
    pub(super) fn cut(
        memory: ReadResult,
        start: usize,
        end: usize,
        permit: Permit,
    ) -> Option<Self> {
        (start <= end && end <= memory.len()).then_some(Self {
            memory,
            start,
            end,
            _permit: permit,
        })
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory
            .get(self.start..self.end)
            .expect("invariant: checked when the piece was cut")
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece")
            .field("bytes", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "read_file_test.rs"]
mod tests;
