//! Reads a blob while it is being fetched, as far as it is there.

use std::fmt;

use super::direct::Direct;
use super::errors::ReadError;
use super::reader::Chunk;
use super::store::Store;
use super::upload_id::UploadId;
use crate::base::units::to_u64;
use crate::disk::ReadFile;
use crate::telemetry::ReadPath;

/// Reads the file of an [`Import`](super::Import), on any shard, front to back from any
/// start. How far the file may be read is for the caller to know: it hears of
/// [`Import::readable_bytes`](super::Import::readable_bytes). Goes on undisturbed when
/// the file takes its final name, or is removed.
pub struct Following {
    store: Store,
    direct: Direct,
    /// First byte not given out yet.
    cursor: u64,
    size_bytes: u64,
}

impl Store {
    /// Opens a blob under construction that will have `size_bytes`.
    ///
    /// - Errors: `Missing` when there is no such file: nothing is written yet, or it
    ///   has its final name already, or it is given up.
    pub async fn following(&self, id: &UploadId, size_bytes: u64) -> Result<Following, ReadError> {
        let path = self.shared().layout().upload_data(id);
        let file = ReadFile::open_direct(&path, size_bytes).await?;
        Ok(Following {
            store: self.clone(),
            direct: Direct::new(file, self.pool().clone(), 0),
            cursor: 0,
            size_bytes,
        })
    }
}

impl Following {
    /// Goes on at `offset`.
    pub fn seek(&mut self, offset: u64) {
        if offset != self.cursor {
            self.direct.seek(offset);
            self.cursor = offset;
        }
    }

    /// The next bytes before `end`, up to which the file may be read.
    ///
    /// - Errors: the file cannot be read, or is shorter than `end`.
    /// - Panics: when there are no bytes before `end`.
    /// - Cancel: the bytes stay next.
    pub async fn next(&mut self, end: u64) -> Result<Chunk, ReadError> {
        assert!(
            self.cursor < end && end <= self.size_bytes,
            "{}..{end} of {}",
            self.cursor,
            self.size_bytes
        );
        let chunk = Chunk::of_read(self.direct.next(end, end).await?);
        if chunk.is_empty() {
            return Err(ReadError::TooShort {
                size_bytes: self.size_bytes,
                file_bytes: self.cursor,
            });
        }
        self.cursor += to_u64(chunk.len());
        let read_bytes = &self.store.metrics().blob.read_bytes;
        read_bytes.of(ReadPath::Direct).add(to_u64(chunk.len()));
        Ok(chunk)
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("cursor", &self.cursor)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}
