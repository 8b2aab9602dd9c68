//! What a disk operation failed at.

use std::io;
use std::path::{Path, PathBuf};

use glommio::GlommioError;
use rustix::io::Errno;

use crate::runtime::{OffShardPanic, Panicked};

/// A disk operation failed. The machine is at fault, or the disk is full.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct Error {
    /// What was being done, as a verb.
    pub operation: &'static str,
    /// To which file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// An error of `operation` on `path`.
    pub(super) fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn of_runtime(
        operation: &'static str,
        path: &Path,
        source: GlommioError<()>,
    ) -> Self {
        // The runtime's own text repeats the path, wrongly after a rename.
        let source = match source {
            GlommioError::EnhancedIoError { source, .. } => source,
            other => other.into(),
        };
        Self::new(operation, path, source)
    }

    pub(super) fn of_panic(operation: &'static str, path: &Path, panic: &OffShardPanic) -> Self {
        Self::new(operation, path, io::Error::other(panic.message.as_ref()))
    }

    pub(super) fn of_task(operation: &'static str, path: &Path, panic: &Panicked) -> Self {
        Self::new(operation, path, io::Error::other(panic.message.as_ref()))
    }

    /// Whether the file or directory is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether this file cannot be read though others may be: its place on the disk is
    /// bad, it ends too early, or it is no file. Anything else, such as too many open files, passes.
    #[must_use]
    pub fn is_of_the_file(&self) -> bool {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        let of_the_file = [
            Errno::IO,
            Errno::UCLEAN,
            Errno::BADMSG,
            Errno::NODATA,
            Errno::ISDIR,
        ];
        let is_cut = self.source.kind() == io::ErrorKind::UnexpectedEof;
        is_cut || errno.is_some_and(|errno| of_the_file.contains(&errno))
    }

    /// Whether another process holds the lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }

    /// Whether the disk, or the quota of this user, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::NOSPC | Errno::DQUOT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_to_blame_for_what_other_files_would_not_meet() {
        let failed = |errno: Errno| Error::new("read", Path::new("blob"), errno);
        for errno in [Errno::IO, Errno::UCLEAN, Errno::ISDIR] {
            assert!(failed(errno).is_of_the_file(), "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
            assert!(!failed(errno).is_of_the_file(), "{errno}");
        }
        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert!(Error::new("read", Path::new("blob"), cut).is_of_the_file());
        let panicked = Error::new("read", Path::new("blob"), io::Error::other("panicked"));
        assert!(!panicked.is_of_the_file());
    }
}
