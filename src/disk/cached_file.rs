//! A file read through the page cache.

use std::cell::OnceCell;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use glommio::io::BufferedFile;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::error::Error;
use super::open::open;
use super::pending::Pending;
use super::read_file::Piece;
use super::residency;
use super::ring_file::ring_file;
use crate::base::units::{index_of, to_usize};
use crate::memory::Permit;
use crate::runtime::off_shard;

/// Reads content that several clients want, or that is small. Stays on its shard; its
/// descriptor is what zero-copy sends take. Sending pages that are not resident would
/// stop the shard until the disk has them: ask [`CachedFile::is_resident`] first.
#[derive(Debug)]
pub struct CachedFile {
    file: Arc<OwnedFd>,
    ring: OnceCell<Rc<BufferedFile>>,
    path: PathBuf,
}

impl CachedFile {
    /// Opens a file that exists.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let file = open(path, OFlags::RDONLY).await?;
        Ok(Self {
            file: Arc::new(file),
            ring: OnceCell::new(),
            path: path.to_owned(),
        })
    }

    /// Length of the file now. Does not touch the disk.
    pub fn length_bytes(&self) -> Result<u64, Error> {
        let about = rustix::fs::fstat(&self.file);
        let about = about.map_err(|errno| Error::new("stat", &self.path, errno))?;
        Ok(u64::try_from(about.st_size).unwrap_or_default())
    }

    /// Whether the whole range is in memory, so that sending it does not wait. Advice:
    /// a page may go a moment later. `false` on kernels that cannot tell.
    #[must_use]
    pub fn is_resident(&self, offset: u64, bytes: u64) -> bool {
        residency::is_resident(self.file.as_fd(), offset, bytes)
    }

    /// Reads what is in memory right now, at most `into`. `None` when the first page
    /// is not there; less than asked when a later one is not, or at the end.
    #[must_use]
    pub fn read_now(&self, into: &mut [u8], offset: u64) -> Option<usize> {
        let mut parts = [IoSliceMut::new(into)];
        rustix::io::preadv2(&self.file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()
    }

    /// Reads `bytes` at `offset` through the page cache, off the shard. Begins at once;
    /// the piece is shorter only at the end of the file.
    ///
    /// - Shape: `permit` for `bytes`.
    pub fn read_buffered(&self, offset: u64, bytes: u32, permit: Permit) -> Pending<Piece> {
        assert!(
            u64::from(bytes) <= permit.bytes(),
            "the permit covers the bytes"
        );
        let ring = self.ring_file();
        let path = self.path.clone();
        Pending::start("read", self.path.clone(), async move {
            let ring = ring.map_err(|errno| Error::new("read", &path, errno))?;
            let read = ring.read_at(offset, to_usize(bytes)).await;
            let memory = read.map_err(|source| Error::of_runtime("read", &path, source))?;
            let length = memory.len().min(to_usize(bytes));
            Piece::cut(memory, 0, length, permit).ok_or_else(|| {
                Error::new("read", &path, io::Error::from(io::ErrorKind::UnexpectedEof))
            })
        })
    }

    /// Brings the range into memory without copying it anywhere, off the shard, so
    /// that the range can be sent afterwards. Stops at the end of the file.
    pub async fn warm(&self, offset: u64, bytes: u64) -> Result<(), Error> {
        let file = Arc::clone(&self.file);
        off_shard(move || warm_blocking(&file, offset, bytes))
            .await
            .map_err(|panic| Error::of_panic("warm", &self.path, &panic))?
            .map_err(|errno| Error::new("warm", &self.path, errno))
    }

    /// The ring's own descriptor of the same open file, made when first needed: most
    /// files are sent or read at once and never need it.
    fn ring_file(&self) -> Result<Rc<BufferedFile>, Errno> {
        if let Some(ring) = self.ring.get() {
            return Ok(Rc::clone(ring));
        }
        let own = rustix::io::fcntl_dupfd_cloexec(&self.file, 0)?;
        let ring = self.ring.get_or_init(|| Rc::new(ring_file(own)));
        Ok(Rc::clone(ring))
    }
}

impl AsFd for CachedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Sends the pages to nowhere: the null device takes them without looking at them.
fn warm_blocking(file: &OwnedFd, offset: u64, bytes: u64) -> Result<(), Errno> {
    let nowhere = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut position = offset;
    let end = offset.saturating_add(bytes);
    while position < end {
        let left = index_of(end - position);
        match rustix::fs::sendfile(&nowhere, file, Some(&mut position), left) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "cached_file_test.rs"]
mod tests;
