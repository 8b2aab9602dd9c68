//! Names: rename, remove, list, make, lock.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, statvfs};

use super::directory_sync::DirectorySync;
use super::error::Error;
use crate::runtime::off_shard;

/// Changes to directories from one shard. Cheap to clone; stays on its shard.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    syncs: DirectorySync,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name without the directory. Names that are not UTF-8 are none of ours and left out.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_directory: bool,
    /// Length of the file.
    pub size_bytes: u64,
}

/// Keeps other processes out of a directory, until dropped.
#[derive(Debug)]
#[must_use = "the lock is held by this value"]
pub struct DirectoryLock {
    _file: File,
}

impl Directories {
    /// For one shard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Renames a file and returns when its new name survives a power cut. Renames into
    /// one directory at about the same time share its syncs.
    ///
    /// - Cancel: the file has its old or its new name; which one survives a power cut
    ///   is open.
    pub async fn rename_and_sync(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let (source, target) = (from.to_owned(), to.to_owned());
        blocking("rename", from, move || fs::rename(source, target)).await?;
        self.sync(to.parent().unwrap_or(to)).await
    }

    /// Returns when the entries that `directory` has now survive a power cut.
    pub async fn sync(&self, directory: &Path) -> Result<(), Error> {
        self.syncs.sync(directory).await
    }

    /// Removes a file; a power cut may bring it back. Fine when it is not there.
    pub async fn remove(&self, path: &Path) -> Result<(), Error> {
        let target = path.to_owned();
        match blocking("remove", path, move || fs::remove_file(target)).await {
            Err(error) if error.is_missing() => Ok(()),
            outcome => outcome,
        }
    }

    /// Copies a file, unless its target is there already. The target never appears
    /// half-written; whether it survives a power cut is open.
    ///
    /// - Cancel: goes on to its end; a file with the extension `new` may stay.
    pub async fn copy_unless_there(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let (source, target) = (from.to_owned(), to.to_owned());
        let copy = move || {
            if target.exists() {
                return Ok(());
            }
            let mut beside = target.clone().into_os_string();
            beside.push(".new");
            fs::copy(source, &beside)?;
            fs::rename(beside, target)
        };
        blocking("copy", from, copy).await
    }

    /// The entries of a directory, in no order.
    pub async fn list(&self, directory: &Path) -> Result<Vec<Entry>, Error> {
        let target = directory.to_owned();
        off_shard(move || list_directory(&target))
            .await
            .map_err(|panic| Error::of_panic("list", directory, &panic))?
    }

    /// As [`create_directories_synced`], off the shard.
    pub async fn create_all_synced(&self, directory: &Path) -> Result<(), Error> {
        let target = directory.to_owned();
        off_shard(move || create_directories_synced(&target))
            .await
            .map_err(|panic| Error::of_panic("create", directory, &panic))?
    }
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    off_shard(work)
        .await
        .map_err(|panic| Error::of_panic(operation, path, &panic))?
        .map_err(|source| Error::new(operation, path, source))
}

/// The entries of a directory, in no order. Blocks: for the start of the process.
pub fn list_directory(directory: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::new("list", directory, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) => entries.push(Entry {
                name,
                is_directory: metadata.is_dir(),
                size_bytes: metadata.len(),
            }),
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(entries)
}

/// Makes a directory and those above it, each for this user only and each surviving a
/// power cut. Blocks: for the start of the process.
pub fn create_directories_synced(directory: &Path) -> Result<(), Error> {
    let failed = |source| Error::new("create", directory, source);
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    for path in missing.into_iter().rev() {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        sync_parent(path)?;
    }
    Ok(())
}

/// Syncs the directory that holds `path`. Blocks.
pub(super) fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    File::open(&parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| Error::new("sync directory", &parent, source))
}

/// How large a file system is, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes there are.
    pub total_bytes: u64,
}

/// Measures the file system of `path`. Does not touch the disk.
pub fn room(path: &Path) -> Result<Room, Error> {
    let found = statvfs(path).map_err(|errno| Error::new("measure", path, errno))?;
    Ok(Room {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// Takes the lock file of a directory for this process, made if it is not there. The
/// kernel gives it back when the process ends, however it ends.
///
/// - Errors: `WouldBlock` inside when another process has it.
pub fn lock_directory(directory: &Path) -> Result<DirectoryLock, Error> {
    let path = directory.join("lock");
    let failed = |errno| Error::new("lock", &path, errno);
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
    Ok(DirectoryLock { _file: file.into() })
}

#[cfg(test)]
#[path = "directories_test.rs"]
mod tests;
