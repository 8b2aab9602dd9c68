//! Takes the file of a blob out of service that cannot be read.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::reader::Reader;
use super::recovery::UNREADABLE;
use super::store::Store;
use crate::disk::CachedFile;
use crate::oci::Digest;
use crate::runtime::{OffShardPanic, off_shard};

/// Why a file stays in service though it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SetAsideError {
    /// It cannot be looked at or moved.
    #[error("move the file of a blob to quarantine")]
    Move(#[from] io::Error),
    /// The thread that moved it panicked.
    #[error(transparent)]
    Panicked(#[from] OffShardPanic),
}

/// The file that a reader has open, without the memory that the reader fills.
#[derive(Debug, Clone)]
pub struct OpenFile(Rc<CachedFile>);

impl Reader {
    /// The file it reads.
    #[must_use]
    pub fn open_file(&self) -> OpenFile {
        OpenFile(Rc::clone(self.file()))
    }
}

impl Store {
    /// Moves the file of a sealed blob to quarantine; says whether it did. With the
    /// file that failed, only that one: another one under the same name has come since,
    /// and is not to blame.
    ///
    /// The blob is missing afterwards: to be called when another node has it.
    ///
    /// - Cancel: the file may have moved.
    pub async fn set_aside(
        &self,
        digest: &Digest,
        generation: u64,
        failed: Option<&OpenFile>,
    ) -> Result<bool, SetAsideError> {
        let path = self.shared().layout().blob(digest, generation);
        let quarantine = self.shared().layout().quarantine();
        let open = match failed {
            Some(file) => Some(file.0.as_fd().try_clone_to_owned()?),
            None => None,
        };
        let (from, into, now_ms) = (path.clone(), quarantine.clone(), self.clock().unix_ms());
        let is_moved = off_shard(move || move_aside(&from, &into, now_ms, open)).await??;
        if is_moved {
            self.metrics().blob.set_aside.count();
            let home = path.parent().unwrap_or_else(|| Path::new("/"));
            for directory in [quarantine.as_path(), home] {
                // It has moved all the same; after a power cut it may be back, and
                // fails again.
                if let Err(error) = self.directories().sync(directory).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the move of a bad file is not synced");
                }
            }
        }
        Ok(is_moved)
    }
}

/// Moves `from` into a folder, unless it is not the file that is open. Blocks.
fn move_aside(from: &Path, into: &Path, now_ms: u64, open: Option<OwnedFd>) -> io::Result<bool> {
    let found = match fs::metadata(from) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if let Some(open) = open {
        let failed = File::from(open).metadata()?;
        if (failed.dev(), failed.ino()) != (found.dev(), found.ino()) {
            return Ok(false);
        }
    }
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let place = |number: u64| -> PathBuf {
        into.join(format!("{now_ms:013}.{UNREADABLE}.{number}.{name}"))
    };
    // Never over another file: the same blob may have been set aside before.
    let free = (0..u64::MAX).map(place).find(|target| !target.exists());
    let target = free.expect("invariant: fewer files than numbers");
    fs::rename(from, &target)?;
    tracing::warn!(from = %from.display(), to = %target.display(), "set aside: it cannot be read");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::fixture::{Home, content, push, sha256};
    use crate::blob::{ReadError, Store};
    use crate::runtime::run_alone;

    async fn pushed(home: &Home) -> (Store, Digest, PathBuf) {
        let (stores, _) = home.start();
        let content = content(300_000);
        push(&stores[0], &content).await.unwrap().commit().await;
        let digest = sha256(&content);
        let path = stores[0].shared().layout().blob(&digest, 1);
        (stores[0].clone(), digest, path)
    }

    #[test]
    fn a_file_that_ends_early_fails_its_reader_and_goes_to_quarantine_once() {
        run_alone(|| async {
            let home = Home::new();
            let (store, digest, path) = pushed(&home).await;
            let mut reader = store.reader(&digest, 1, 300_000).await.unwrap();
            let failed = reader.open_file();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(100_000).unwrap();
            while let Ok(piece) = reader.next().await {
                assert!(piece.is_some(), "it ended whole");
            }
            assert_eq!(home.metrics.blob.read_failures.value(), 1);
            let again = store.reader(&digest, 1, 300_000).await;
            assert!(matches!(again, Err(ReadError::TooShort { .. })));
            assert_eq!(home.metrics.blob.read_failures.value(), 2);
            assert!(store.set_aside(&digest, 1, Some(&failed)).await.unwrap());
            assert!(!path.exists());
            assert_eq!(home.files("quarantine").len(), 1);
            assert!(!store.set_aside(&digest, 1, Some(&failed)).await.unwrap());
            assert_eq!(home.metrics.blob.set_aside.value(), 1);
        });
    }

    #[test]
    fn a_file_that_came_since_stays() {
        run_alone(|| async {
            let home = Home::new();
            let (store, digest, path) = pushed(&home).await;
            let failed = store.reader(&digest, 1, 300_000).await.unwrap().open_file();
            fs::copy(&path, path.with_extension("other")).unwrap();
            fs::rename(path.with_extension("other"), &path).unwrap();
            assert!(!store.set_aside(&digest, 1, Some(&failed)).await.unwrap());
            assert!(path.exists());
            // Without an open file the name alone counts.
            assert!(store.set_aside(&digest, 1, None).await.unwrap());
            assert!(!path.exists());
        });
    }
}
