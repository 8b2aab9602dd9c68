//! A file written directly, past the page cache.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::io::{DmaFile, OpenOptions};
use rustix::fs::{Mode, OFlags};

use super::error::Error;
use super::open::open_off_shard;
use super::pending::Pending;
use crate::base::units::{SECTOR_BYTES, to_usize};
use crate::memory::SharedBuffer;

/// Takes whole sectors at sector offsets; its real length is set at the end by
/// [`WriteFile::truncate`], before [`WriteFile::sync_data`].
///
/// Owned by one task of one shard. What was written survives a killed process at
/// once, and a power cut after `sync_data`.
#[derive(Debug)]
pub struct WriteFile {
    file: Rc<DmaFile>,
    path: PathBuf,
}

impl WriteFile {
    /// Makes the file, or empties it.
    pub async fn create(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
        let mode = Mode::RUSR | Mode::WUSR;
        Self::adopt(open_off_shard(path, flags, mode).await?, path).await
    }

    /// Opens a file that exists, keeping what it holds.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::adopt(
            open_off_shard(path, OFlags::WRONLY, Mode::empty()).await?,
            path,
        )
        .await
    }

    /// Reopens `opened` through the runtime, by number: while it opens, the runtime
    /// asks the file system about the path and panics when somebody has unlinked or
    /// renamed it in between. A number cannot be unlinked. It is opened for writing
    /// only, so that the runtime's trial read of the device always fails.
    async fn adopt(opened: OwnedFd, path: &Path) -> Result<Self, Error> {
        let by_number = format!("/proc/self/fd/{}", opened.as_raw_fd());
        let file = OpenOptions::new().write(true).dma_open(&by_number).await;
        drop(opened);
        let file = file.map_err(|source| Error::of_runtime("open", path, source))?;
        Ok(Self {
            file: Rc::new(file),
            path: path.to_owned(),
        })
    }

    /// Writes `buffer` at `offset`. Begins at once; any number may be under way, in any
    /// order.
    ///
    /// - Shape: `offset` and the length of `buffer` are whole sectors.
    /// - Errors: also when the kernel took less than all of it.
    pub fn write_at(&self, buffer: SharedBuffer, offset: u64) -> Pending<()> {
        assert!(
            offset.is_multiple_of(u64::from(SECTOR_BYTES)),
            "writes start on sectors"
        );
        let bytes = buffer.len();
        assert!(
            bytes.is_multiple_of(to_usize(SECTOR_BYTES)),
            "writes are whole sectors"
        );
        let (file, path) = (Rc::clone(&self.file), self.path.clone());
        Pending::start("write", self.path.clone(), async move {
            let written = file.write_rc_at(buffer.memory(), offset).await;
            drop(buffer);
            match written {
                Ok(written) if written == bytes => Ok(()),
                Ok(_) => Err(Error::new(
                    "write all of",
                    &path,
                    io::Error::from(io::ErrorKind::WriteZero),
                )),
                Err(source) => Err(Error::of_runtime("write", &path, source)),
            }
        })
    }

    /// Sets the length, cutting the padding of the last sector off. Only after every
    /// write has been awaited.
    pub async fn truncate(&self, length_bytes: u64) -> Result<(), Error> {
        let truncated = self.file.truncate(length_bytes).await;
        truncated.map_err(|source| Error::of_runtime("truncate", &self.path, source))
    }

    /// Makes content and length survive a power cut. Only after every write has been
    /// awaited and the length set: the other order loses the length.
    pub async fn sync_data(&self) -> Result<(), Error> {
        let synced = self.file.fdatasync().await;
        synced.map_err(|source| Error::of_runtime("sync", &self.path, source))
    }

    /// Closes the file and says whether the kernel minded. Dropping closes it too, a
    /// moment later and silently.
    pub async fn close(self) -> Result<(), Error> {
        let closed = match Rc::try_unwrap(self.file) {
            Ok(file) => file.close().await,
            // A write is still under way; the file closes after it.
            Err(_) => Ok(()),
        };
        closed.map_err(|source| Error::of_runtime("close", &self.path, source))
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
#[path = "write_file_test.rs"]
mod tests;
